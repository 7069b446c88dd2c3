"""Rules about the model and its chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lfwrap.engine.keys import MODEL_KEY
from lfwrap.engine.model_template import suit_same_models
from lfwrap.errors import Finding
from lfwrap.recipe.recipe import MODEL_PATH_VARIABLE
from lfwrap.recipe.rules.view import View
from lfwrap.suggest import did_you_mean

_QUANTIZED_NAME = re.compile(r"(gptq|awq|aqlm)", re.IGNORECASE)


def model_missing(view: View) -> Iterator[Finding]:
    """A recipe needs a model from somewhere."""
    if view.recipe.model is None:
        hint = f"Write `{MODEL_KEY}: <hub id or folder>`, give {MODEL_KEY}=… or set {MODEL_PATH_VARIABLE}."
        yield view.error("model-missing", MODEL_KEY, f"{MODEL_KEY}: no model is named.", hint)


def unknown_template(view: View) -> Iterator[Finding]:
    """The engine says `Template … does not exist` after seven seconds."""
    name = view.text("template")
    if name and name not in view.facts.templates:
        hint = did_you_mean(name, view.facts.templates, otherwise="`lfwrap recipe schema` lists all templates.")
        yield view.error("unknown-template", "template", f"template: {name!r} does not exist.", hint)


def template_missing(view: View) -> Iterator[Finding]:
    """Without a template the engine silently takes the tokenizer's own."""
    model = view.recipe.model
    if view.text("template") or model is None:
        return
    known = view.facts.template_for(model)
    if known and view.recipe.has_intent:
        return
    hint = (
        f"Write `template: {known}`." if known else "Name the model family's template, so that chat and export agree."
    )
    message = "template: no template is named; LLaMA-Factory falls back to the tokenizer's own, silently."
    yield view.warning("template-missing", "template", message, hint)


def template_of_model(view: View) -> Iterator[Finding]:
    """The template of another family trains, and then answers badly."""
    name, model = view.text("template"), view.recipe.model
    known = view.facts.template_for(model) if model else None
    if not known or name not in view.facts.templates or suit_same_models(name, known):
        return
    message = f"template: {name!r} is not the one of {model}, which LLaMA-Factory gives {known!r}."
    yield view.warning("template-of-model", "template", message, f"Write `template: {known}`.")


def quantized_checkpoint(view: View) -> Iterator[Finding]:
    """LF#5577: an adapter trained on GPTQ or AWQ weights can't be merged."""
    model = view.recipe.model
    if model and _QUANTIZED_NAME.search(model.rsplit("/", 1)[-1]):
        message = f"{MODEL_KEY}: {model} is quantised already: an adapter trained on it can't be merged."
        hint = "Train on the unquantised model, with `quantization_bit: 4` where memory is short."
        yield view.warning("quantized-checkpoint", MODEL_KEY, message, hint)


def remote_code(view: View) -> Iterator[Finding]:
    """Code from the model's repository runs with the user's rights."""
    if view.on("trust_remote_code"):
        message = "trust_remote_code: runs Python code from the model's repository."
        hint = "Leave it out unless you have read that code: models that transformers knows don't need it."
        yield view.warning("trust-remote-code", "trust_remote_code", message, hint)


def secrets(view: View) -> Iterator[Finding]:
    """Tokens in a recipe end up in records and repositories."""
    variables = {"hf_hub_token": "HF_TOKEN", "hub_token": "HF_TOKEN", "ms_hub_token": "MODELSCOPE_API_TOKEN"}
    for key in ("hf_hub_token", "hub_token", "ms_hub_token", "om_hub_token", "swanlab_api_key"):
        if view.has(key):
            variable = variables.get(key, key.upper())
            yield view.warning(
                "secret-in-recipe", key, f"{key}: a secret is written in a file.", f"Set {variable} instead."
            )


RULES = (
    model_missing,
    unknown_template,
    template_missing,
    template_of_model,
    quantized_checkpoint,
    remote_code,
    secrets,
)
