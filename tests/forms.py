"""The forms of datasets that `load_dataset` reads, written by other libraries where there are any."""

import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["cat", "dog", "owl"]


def noise(n, shape=(12, 10), seed=0):
    """Random images and labels 0, 1, 2 in turn."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8), np.arange(n) % 3


def png(image):
    """Encode an image."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_folders(folder, X, y, suffix="png"):
    """Write one sub-folder per class, named by CLASSES."""
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        file = folder / CLASSES[label] / f"{i:04}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def write_idx(path, array, *, packed=True):
    """Write bytes as an IDX file."""
    array = np.asarray(array, np.uint8)
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


def write_csv(path, X, y, header="label,{}", names=None):
    """Write a label and pixels per row; the header gets the names of the pixels."""
    names = names or [f"pixel{i}" for i in range(X[0].size)]
    lines = [",".join(map(str, [label, *row])) for label, row in zip(y, X.reshape(len(X), -1).tolist(), strict=True)]
    text = "\n".join([*([] if header is None else [header.format(",".join(names))]), *lines]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_parquet(path, X, y, names=CLASSES):
    """Write pictures and labels as the Hugging Face Hub has them."""
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    table = pa.table({"image": [{"bytes": png(image), "path": None} for image in X], "label": pa.array(y)})
    metadata = {} if names is None else {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(metadata), path)


def folders(root, train, test):
    """Class folders in train and test."""
    for split, (X, y) in (("train", train), ("Test", test)):
        write_folders(root / split, X, y)
    return root


def idx(root, train, test):
    """IDX files with the names of MNIST's."""
    for prefix, (X, y) in (("train", train), ("t10k", test)):
        write_idx(root / f"{prefix}-images-idx3-ubyte.gz", X)
        write_idx(root / f"{prefix}-labels-idx1-ubyte.gz", y)
    return root


def emnist(root, train, test):
    """IDX files of EMNIST, whose images lie on their side, with the mapping from labels to characters."""
    for split, (X, y) in (("train", train), ("test", test)):
        write_idx(root / f"emnist-letters-{split}-images-idx3-ubyte.gz", X.transpose(0, 2, 1))
        write_idx(root / f"emnist-letters-{split}-labels-idx1-ubyte.gz", y)
    (root / "emnist-letters-mapping.txt").write_text("0 99 67\n1 100 68\n2 111 79\n")  # c, d, o
    return root / "emnist-letters"


def keras(root, train, test):
    """An archive as Keras' mnist.npz."""
    path = root / "mnist.npz"
    np.savez(path, x_train=train[0], y_train=train[1].astype(np.uint8), x_test=test[0], y_test=test[1].astype(np.uint8))
    return path


def medmnist(root, train, test):
    """An archive as MedMNIST's, with labels in a column."""
    arrays = {"train_images": train[0], "train_labels": train[1][:, None]}
    arrays |= {"test_images": test[0], "test_labels": test[1][:, None]}
    with (root / "bloodmnist.NPZ").open("wb") as file:
        np.savez_compressed(file, **arrays)
    return root / "bloodmnist.NPZ"


def kmnist(root, train, test):
    """Four archives of one array each, as KMNIST has them."""
    for split, pair in (("train", train), ("test", test)):
        for kind, array in zip(("imgs", "labels"), pair, strict=True):
            np.savez_compressed(root / f"kmnist-{split}-{kind}.npz", array)
    return root


def tables(root, train, test):
    """Two tables, one of them packed; the images are square."""
    write_csv(root / "sign_mnist_train.csv", *train)
    write_csv(root / "sign_mnist_test.csv.gz", *test)
    return root


def table_of_paths(root, train, test):
    """A table of paths, as Windows writes them, and of splits."""
    lines = ["filename,label,split"]
    for split, (X, y) in (("train", train), ("test", test)):
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            (root / split).mkdir(exist_ok=True)
            Image.fromarray(image).save(root / split / f"{i}.png")
            lines.append(f"{split}\\{i}.png,{CLASSES[label]},{split}")
    (root / "photos.csv").write_text("\r\n".join(lines))
    return root / "photos.csv"


def fer2013(root, train, test):
    """A table with all pixels in one text, and the names of FER2013's splits."""
    lines = ["emotion,pixels,Usage"]
    for usage, (X, y) in (("Training", train), ("PrivateTest", test)):
        rows = X.reshape(len(X), -1).tolist()
        lines += [f"{label},{' '.join(map(str, row))},{usage}" for label, row in zip(y, rows, strict=True)]
    (root / "fer2013.csv").write_text("\n".join(lines))
    return root / "fer2013.csv"


def hub(root, train, test):
    """Parquet files as the Hub converts them, the training images in two."""
    half = len(train[0]) // 2
    write_parquet(root / "default" / "train" / "0000.parquet", train[0][:half], train[1][:half])
    write_parquet(root / "default" / "train" / "0001.parquet", train[0][half:], train[1][half:])
    write_parquet(root / "default" / "test" / "0000.parquet", *test)
    return root


def svhn(root, train, test):
    """SVHN's .mat files, in which 10 is the digit 0."""
    from scipy.io import savemat

    for split, (X, y) in (("train", train), ("test", test)):
        labels = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        savemat(root / f"{split}_32x32.mat", {"X": X.transpose(1, 2, 3, 0), "y": labels})
    return root


# By form: what writes it, the shape of its images, and its labels for 0, 1 and 2.
FORMS = {
    "folders": (folders, (12, 10), CLASSES),
    "idx": (idx, (12, 10), [0, 1, 2]),
    "emnist": (emnist, (12, 10), ["c", "d", "o"]),
    "keras": (keras, (12, 10), [0, 1, 2]),
    "medmnist": (medmnist, (12, 10, 3), [0, 1, 2]),
    "kmnist": (kmnist, (12, 10), [0, 1, 2]),
    "tables": (tables, (12, 12), [0, 1, 2]),
    "paths": (table_of_paths, (12, 10, 3), CLASSES),
    "fer2013": (fer2013, (12, 12), [0, 1, 2]),
    "hub": (hub, (12, 10), CLASSES),
    "svhn": (svhn, (32, 32, 3), [0, 1, 2]),
}


def make(form, root, n_train=60, n_test=15):
    """Write a dataset; return its path, and images and labels of both splits in the order of the files."""
    write, shape, labels = FORMS[form]
    train, test = noise(n_train, shape), noise(n_test, shape, seed=1)
    path = write(Path(root), train, test)
    if form == "folders":  # which are read class by class
        train, test = ((X[np.argsort(y, kind="stable")], np.sort(y)) for X, y in (train, test))
    named = [(X, np.array(labels)[y]) for X, y in (train, test)]
    return path, *named
