"""A trace as a LaTeX document."""

import re

from cnnclf.inspection._items import Arithmetic, Beside, Item, Matrix, Paragraph, Picture, Section, Table
from cnnclf.inspection._narrative import narrate
from cnnclf.inspection._records import TraceRecord

# The signs of the walkthrough that pdflatex does not know, among them the blocks of a bar.
LATEX_SIGNS = {
    **{"×": r"\times", "→": r"\to", "·": r"\cdot", "√": r"\surd", "⌊": r"\lfloor", "⌋": r"\rfloor", "²": "^2"},
    **{"μ": r"\mu", "σ": r"\sigma", "γ": r"\gamma", "β": r"\beta", "ε": r"\varepsilon", "Σ": r"\Sigma"},
    **{"█": r"\rule{.4em}{1.2ex}", "▏": r"\rule{.08em}{1.2ex}"},
}
LATEX_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ–—‘’“”…"  # known to every pdflatex


LATEX_ESCAPES = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "-": "{-}"},
}
LATEX_HEADINGS = (r"\subsection*", r"\subsubsection*", r"\paragraph*")


LATEX_HEAD = "\n".join(
    [
        r"\documentclass[10pt,a4paper]{article}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage[margin=15mm]{geometry}",
        r"\usepackage{amsmath,color,longtable}",
        *(
            rf"\DeclareUnicodeCharacter{{{ord(sign):04X}}}{{\ensuremath{{{command}}}}}"
            for sign, command in LATEX_SIGNS.items()
        ),
        r"\newcommand{\pixel}[1]{\textcolor[gray]{#1}{\rule{1.4mm}{1.4mm}}}",
        r"\setlength{\parindent}{0pt}\setlength{\parskip}{6pt}\setlength{\fboxsep}{1pt}\setlength{\LTleft}{0pt}",
        r"\raggedright",
        r"\begin{document}",
    ]
)


def to_latex(trace: TraceRecord) -> str:
    r"""Write a trace as a LaTeX document.

    Returns
    -------
    str
        A whole document for ``pdflatex``; it needs no more than a basic TeX Live. A character that pdflatex does not
        know, as may be in a label, is given as its code point.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    >>> print(to_latex(clf.trace(X[0])).splitlines()[0])
    \documentclass[10pt,a4paper]{article}
    """
    title, *sections = narrate(trace)
    body = [*latex_section(title, r"\section*"), *(line for section in sections for line in latex_section(section))]
    return "\n\n".join([LATEX_HEAD, *body, r"\end{document}"]) + "\n"


def latex_section(section: Section, command: str = "") -> list[str]:
    """Return a section as paragraphs of LaTeX."""
    command = command or LATEX_HEADINGS[min(section.depth, len(LATEX_HEADINGS) - 1)]
    return [f"{command}{{{latex(section.heading)}}}", *map(latex_item, section.items)]


def latex_item(item: Item) -> str:
    """Return an item in LaTeX."""
    match item:
        case Paragraph(text):
            return latex(text) + r"\nopagebreak" * text.endswith(":")
        case Arithmetic(lines):
            equations = "\\par\\hangindent=2em\n".join(map(latex_equation, lines))
            return "\n".join([r"{\footnotesize\parskip=2pt\hangindent=2em", equations, r"\par}"])
        case Table(align, head, rows):
            first, *others = (rf"{' & '.join(map(latex, row))} \\" for row in (head, *rows))
            opening = rf"{{\small\begin{{longtable}}{{@{{}}{align}@{{}}}}"
            return "\n".join([opening, first, r"\hline", *others, r"\end{longtable}}"])
        case Beside(blocks):
            return "\\qquad\n".join(latex_matrix(b) if isinstance(b, Matrix) else latex_picture(b) for b in blocks)


def latex_matrix(matrix: Matrix) -> str:
    """Return a matrix as an array below its caption; the marked cell is in a box."""
    rows = [
        [rf"\fbox{{${cell}$}}" if (i, j) == matrix.marked else cell for j, cell in enumerate(row)]
        for i, row in enumerate(matrix.cells)
    ]
    body = "\n".join(
        [
            r"$\setlength{\arraycolsep}{2pt}\renewcommand{\arraystretch}{1.15}",
            rf"\begin{{array}}{{r|{'r' * len(matrix.columns)}}}",
            rf" & {' & '.join(matrix.columns)} \\ \hline \rule{{0pt}}{{2.4ex}}",
            *(rf"{label} & {' & '.join(row)} \\" for label, row in zip(matrix.rows, rows, strict=True)),
            r"\end{array}$",
        ]
    )
    return latex_block(matrix.caption, rf"{{\scriptsize{body}}}")


def latex_picture(picture: Picture) -> str:
    """Return a picture as rows of grey squares below its caption."""
    rows = ["".join(rf"\pixel{{{1 - ink:.2f}}}" for ink in row) for row in picture.ink]
    body = "\n".join([r"\vbox{\offinterlineskip\lineskip=0pt", *(rf"\hbox{{{row}}}" for row in rows), "}"])
    return latex_block(picture.caption, body)


def latex_block(caption: str, body: str) -> str:
    """Return a block below its caption, both flush left."""
    title = f"{latex(caption)}\\\\[2pt]\n" if caption else ""
    return f"\\begin{{tabular}}[t]{{@{{}}l@{{}}}}{title}{body}\\end{{tabular}}"


def latex_equation(line: str) -> str:
    """Return an equation in math mode: roots with a bar, words upright."""
    line = re.sub(r"√\(([^()]*)\)", r"\\sqrt{\1}", line)
    line = re.sub(r" \((?=[a-z])", r"\\ (", line)  # math mode drops spaces
    words = re.compile(r"(?<![\\A-Za-z])[A-Za-z][A-Za-z0-9]*(?: [A-Za-z0-9]+)*")
    line = words.sub(lambda match: match[0] if len(match[0]) == 1 else rf"\text{{{match[0]}}}", line)
    breakable = line.replace(", ", r",\allowbreak ")
    return f"${breakable}$"


def latex(text: str) -> str:
    """Return text escaped for LaTeX; a character that pdflatex cannot set becomes its code point."""
    return "".join(
        LATEX_ESCAPES.get(c, c if c.isascii() or c in LATEX_SIGNS or c in LATEX_LETTERS else f"[U+{ord(c):04X}]")
        for c in text
    )
