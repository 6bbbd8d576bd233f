"""What `finetune export` is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument

FORMATS = ("onnx", "openvino")


@dataclass
class ExportArguments:
    """Export."""

    run: str = argument(metavar="RUN", help="folder of a trained tagger, classifier or masked language model")
    output_dir: str = argument(
        metavar="DIR", help="where the exported model comes; missing, empty, or this export, done"
    )
    format: str = argument("onnx", choices=FORMATS, help="what to export to")
    int8: str | None = argument(
        None,
        choices=("dynamic", "static"),
        help="products in eight bits: dynamic measures activations as it goes, static on the first texts of --input_file; "
        "refused where the main score falls by more than 0.5 points, unless --allow_loss",
    )
    input_file: str | None = argument(
        None,
        metavar="FILE",
        help="texts to compare the exported model on, any file that predict reads; with right answers for --int8",
    )
    text_column_name: str | None = argument(None, metavar="COLUMN", help="column of its words or texts")
    label_column_name: str | None = argument(None, metavar="COLUMN", help="column of its right answers")
    max_samples: int = argument(400, minimum=2, help="texts of it that are compared, the first ones")
    allow_loss: bool = argument(False, help="keep an eight-bit model that scores worse")
