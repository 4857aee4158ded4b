"""The class that MLServer runs for a file of ``CNNClassifier.to_onnx``; it is imported by the server alone."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from cnnclf.onnx_classifier import ONNXClassifier


class ImageClassifier(MLModel):  # type: ignore[misc]
    """An :class:`cnnclf.ONNXClassifier` behind the Open Inference Protocol: the first input holds images.

    References
    ----------
    "Custom Inference Runtimes" in MLServer's documentation, https://docs.seldon.ai/mlserver.

    Examples
    --------
    ``model-settings.json``, as `cnnclf.mlserver.write_repository` writes it, names this class as "implementation".
    """

    async def load(self) -> bool:
        """Read the file that the settings name."""
        self.classifier = ONNXClassifier(await get_model_uri(self.settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Give "label" and "probabilities" of the images; what is no image is answered with 400 and one sentence."""
        if len(payload.inputs) != 1:
            raise InferenceError(f"Expected one input, the images; got {len(payload.inputs)}.")
        try:
            X = NumpyCodec.decode_input(payload.inputs[0])
            outputs = {"label": self.classifier.predict(X), "probabilities": self.classifier.predict_proba(X)}
        except (ValueError, TypeError, OverflowError) as error:
            raise InferenceError(str(error)) from error
        encoded = [NumpyCodec.encode_output(name, array) for name, array in outputs.items()]
        return InferenceResponse(model_name=self.name, outputs=encoded)
