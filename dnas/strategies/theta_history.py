"""theta over time: recorded during a search, written for reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnas.core import SuperNet
from dnas.files import replacing


class ThetaHistory:
    """theta, the pictured probabilities and the entropy of every Choice at chosen moments."""

    def __init__(self, super_net: SuperNet) -> None:
        self.super_net = super_net
        self.moments: list[dict[str, Any]] = []

    def record(self, step: int, theta_epochs: float) -> None:
        """Note where theta stands now; a moment recorded twice counts once."""
        if self.moments and self.moments[-1]["step"] == step:
            self.moments.pop()
        with torch.no_grad():
            self.moments.append(
                {
                    "step": step,
                    "theta_epochs": theta_epochs,
                    "theta": {
                        name: choice.theta.detach().float().cpu().clone()
                        for name, choice in self.super_net.choices.items()
                    },
                    "entropy": {
                        name: float(choice.entropy())
                        for name, choice in self.super_net.choices.items()
                    },
                    "pictures": {
                        name: picture.values.detach().float().cpu()
                        for name, picture in self.super_net.pictures().items()
                    },
                }
            )

    def write(self, path: str | Path) -> None:
        """Write all moments as an npz file without pickled objects."""
        choices = self.super_net.choices
        pictures = self.super_net.pictures()
        meta = {
            "choices": {
                name: {
                    "decisions": list(choice.decisions),
                    "columns": list(choice.columns),
                    "options": [list(row) for row in choice.options],
                }
                for name, choice in choices.items()
            },
            "pictures": {
                name: {
                    "rows": list(picture.rows),
                    "row_notes": None if picture.row_notes is None else list(picture.row_notes),
                    "columns": list(picture.columns),
                    "row_title": picture.row_title,
                    "column_title": picture.column_title,
                }
                for name, picture in pictures.items()
            },
        }
        arrays: dict[str, np.ndarray] = {
            "meta": np.array(json.dumps(meta)),
            "step": np.array([m["step"] for m in self.moments], dtype=np.int64),
            "theta_epochs": np.array([m["theta_epochs"] for m in self.moments], dtype=np.float64),
        }
        for name in choices:
            arrays[f"theta/{name}"] = np.stack([m["theta"][name].numpy() for m in self.moments])
            arrays[f"entropy/{name}"] = np.array([m["entropy"][name] for m in self.moments])
        for name in pictures:
            arrays[f"probability/{name}"] = np.stack(
                [m["pictures"][name].numpy() for m in self.moments]
            )
        with replacing(path) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded so far."""
        return {"moments": list(self.moments)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.moments = list(state["moments"])
