"""`wearalike train`: the group of commands that train models."""

from __future__ import annotations

from wearalike.commands.groups import CONTEXT_SETTINGS, LazyGroup

train = LazyGroup(
    name="train",
    lazy_commands={
        "encoder": (
            "wearalike.commands.train_encoder:encoder",
            "Train an encoder on labelled photos.",
        ),
        "view-classifier": (
            "wearalike.commands.train_encoder:view_classifier",
            "Train what tells views; the codes stay as they are.",
        ),
        "leaves": (
            "wearalike.commands.train_leaves:leaves",
            "Train what tells the leaf that a picture shows; the codes stay as they are.",
        ),
        "detector": (
            "wearalike.commands.train_detector:detector",
            "Train a detector on labelled photos.",
        ),
    },
    context_settings=CONTEXT_SETTINGS,
    help="Train an encoder, a view or leaf classifier, or a detector.",
)
