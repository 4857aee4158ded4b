"""Keras' own “Simple MNIST convnet”, in an environment with Keras and without cnnclf.

Source: keras.io, code example “Simple MNIST convnet”: its layers, optimiser, batch size and validation split. What
`time_to_accuracy.py` and `datasets.py` start: it reads arrays from a file, images of any size, and prints one line of
JSON: versions, parameters, and CPU seconds, test accuracy and wall seconds after each epoch.
"""

import argparse
import json
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Clock(keras.callbacks.Callback):
    """CPU seconds of training, and the test accuracy after each epoch, which does not count as training."""

    def __init__(self, X_test: np.ndarray, y_test: np.ndarray) -> None:
        super().__init__()
        self.X_test, self.y_test = X_test, y_test
        self.points: list[dict[str, float]] = []
        self.wall_seconds: list[float] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self.spent, self.wall = 0.0, 0.0
        self.start, self.wall_start = time.process_time(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock while the test images are evaluated."""
        self.spent += time.process_time() - self.start
        self.wall += time.perf_counter() - self.wall_start
        parts = [
            self.model.predict_on_batch(part) for part in np.array_split(self.X_test, -(-len(self.X_test) // 1000))
        ]
        accuracy = float((np.concatenate(parts).argmax(axis=1) == self.y_test).mean())
        self.points.append({"epochs": epoch + 1, "cpu_seconds": self.spent, "accuracy": accuracy})
        self.wall_seconds.append(self.wall)
        self.start, self.wall_start = time.process_time(), time.perf_counter()


def build(image_shape: tuple[int, int, int], n_classes: int) -> keras.Model:
    """Build and compile the network as the example does."""
    model = keras.Sequential(
        [
            keras.Input(shape=image_shape),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def main() -> None:
    """Train once and print the points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help=".npz with X, y, X_test, y_test")
    parser.add_argument("seed", type=int)
    parser.add_argument("epochs", type=int)
    args = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(args.seed)
    data = np.load(args.data)
    white = data["X"].max()  # 255 of MNIST
    X, X_test = (data[name].astype("float32") / white for name in ("X", "X_test"))
    if X.ndim == 3:
        X, X_test = X[..., np.newaxis], X_test[..., np.newaxis]
    n_classes = int(data["y"].max()) + 1
    y = keras.utils.to_categorical(data["y"], n_classes)

    def train(n: int, epochs: int, *callbacks: keras.callbacks.Callback) -> None:
        model.fit(X[:n], y[:n], batch_size=128, epochs=epochs, validation_split=0.1, verbose=0, callbacks=callbacks)

    model = build(X.shape[1:], n_classes)
    model.optimizer.build(model.trainable_variables)
    beginning = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    train(256, 1)  # TensorFlow traces and compiles here, which is not counted
    for variable, value in zip((*model.variables, *model.optimizer.variables), beginning, strict=True):
        variable.assign(value)

    clock = Clock(X_test, data["y_test"])
    train(len(X), args.epochs, clock)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    said = {"versions": versions, "n_parameters": model.count_params(), "wall_seconds": clock.wall_seconds}
    print(json.dumps(said | {"points": clock.points}))


if __name__ == "__main__":
    main()
