"""The models that the server offers, as the Models API describes them."""

from dataclasses import dataclass, replace
from typing import Literal

from starter.local.model.errors import ApiError
from starter.local.model.values import Json


@dataclass(frozen=True)
class Model:
    """One model's limits; tokens."""

    id: str
    line: Literal["haiku", "sonnet", "opus", "fable"]
    released: str
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000
    preserved_thinking: bool = True
    """Thinking is on unless it is turned off, and blocks are bound to their prefix."""
    thinking_always_on: bool = False
    """`thinking: disabled` and a forced tool_choice are refused."""


MODELS = (
    Model("claude-fable-5-2", "fable", "2026-11-09", thinking_always_on=True),
    Model("claude-fable-5-1", "fable", "2026-08-01", thinking_always_on=True),
    Model("claude-opus-5-5", "opus", "2026-09-22", thinking_always_on=True),
    Model("claude-sonnet-5-5", "sonnet", "2026-09-22"),
    Model("claude-haiku-5-5", "haiku", "2026-09-22"),
    Model("claude-opus-5", "opus", "2026-04-01", preserved_thinking=False),
    Model("claude-sonnet-5", "sonnet", "2026-04-01", preserved_thinking=False),
    Model("claude-haiku-4-5", "haiku", "2025-10-01", 200_000, 64_000, preserved_thinking=False),
)


class Catalogue:
    """The models by id; a test may narrow every context window."""

    def __init__(self) -> None:
        self._window: int | None = None

    def limit_input(self, tokens: int | None) -> None:
        """Cap the context window of every model, or lift the cap."""
        self._window = tokens

    def all(self) -> list[Model]:
        """Return the models, newest first."""
        return [self._narrowed(model) for model in MODELS]

    def find(self, model_id: str) -> Model:
        """Return the model; an unknown id is the API's 404."""
        for model in self.all():
            if model.id == model_id:
                return model
        raise ApiError(404, kind="not_found_error", message=f"model: {model_id}")

    def _narrowed(self, model: Model) -> Model:
        window = self._window
        return (
            model if window is None else replace(model, max_input_tokens=min(window, model.max_input_tokens))
        )


def describe(model: Model) -> Json:
    """Return the model as the Models API describes it."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        "line": model.line,
        "created_at": f"{model.released}T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": model.max_input_tokens,
        "max_tokens": model.max_tokens,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: Model) -> Json:
    off = ("batch", "citations", "code_execution", "pdf_input", "structured_outputs")
    effort = {level: _supported(yes=True) for level in ("low", "medium", "high", "xhigh", "max")}
    thinking = {
        "adaptive": _supported(yes=True),
        "between_tools": _supported(yes=False),
        "disabled": _supported(yes=not model.thinking_always_on),
        "enabled": _supported(yes=not model.preserved_thinking),
    }
    return {
        **{name: _supported(yes=False) for name in off},
        "image_input": _supported(yes=True),
        "context_management": _supported(yes=False),
        "effort": {"supported": True, **effort},
        "server_tools": {
            "supported": False,
            "code_execution": _supported(yes=False),
            "web_search": _supported(yes=False),
        },
        "thinking": {"supported": True, "types": thinking},
    }


def _supported(*, yes: bool) -> Json:
    return {"supported": yes}
