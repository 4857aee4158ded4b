"""Templates: each is beside the code that fills it, and those that all pages share are here."""

import base64
import hashlib

from cnnclf._utils.extras import needed_by

with needed_by("an HTML page"):
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str) -> Environment:
    """Return the environment in which the HTML templates of a package are rendered, with those that all pages share."""
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("cnnclf._utils")])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def read_as_is(templates: Environment, *names: str) -> str:
    """Return the text of files beside the templates, one after the other."""
    assert templates.loader is not None
    return "".join(templates.loader.get_source(templates, name)[0] for name in names)


def digest(text: str) -> str:
    """Return the name of an inline style or script in a content security policy.

    Examples
    --------
    >>> digest("alert('Hello, world.');")  # the example of the specification
    'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='

    References
    ----------
    W3C, Content Security Policy Level 3, section 2.3.1.
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
