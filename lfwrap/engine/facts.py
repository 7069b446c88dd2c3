"""What the engine takes: its keys, its chat templates, and which model wants which template.

Read from the installed engine's source, never by importing it; a table of them ships for machines without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.compat import SUPPORTED_VERSION, TABLES
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.source import SourceField, SourceModules
from lfwrap.errors import PreflightError

FACTS_TABLE = TABLES / "facts.json"

# The argument classes of `llamafactory-cli train`, in the order of the engine's parser, and what each is about.
ROOTS = {
    "ModelArguments": "model",
    "DataArguments": "data",
    "TrainingArguments": "train",
    "FinetuningArguments": "method",
    "GeneratingArguments": "generate",
}
# The engine gives a group's template to the tuned models of the group alone: a base may be tuned with any.
_TUNED_SUFFIXES = ("-Chat", "-Distill", "-Instruct", "-Thinking")


@dataclass(frozen=True, slots=True)
class KeyFact:
    """One key of the engine's YAML.

    Attributes:
        name: the key.
        types: what it takes, out of int, float, bool, str, dict, list and null.
        default: the engine's default.
        choices: the values it takes; empty when any will do.
        help: the engine's own help text.
        group: model, data, train, method or generate.
    """

    name: str
    types: tuple[str, ...]
    default: Any = None
    choices: tuple[Any, ...] = ()
    help: str = ""
    group: str = "train"

    @property
    def type(self) -> str:
        """The types in words.

        >>> KeyFact("val_size", ("float", "null")).type
        'float or null'
        """
        return " or ".join(self.types)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What one version of the engine takes: keys and chat templates.

    Attributes:
        version: the engine's version.
        transformers: the version of transformers whose TrainingArguments were read.
        keys: name → fact, in the engine's order.
        templates: the names of the chat templates.
        model_templates: hub path of a tuned model → the template the engine's own map gives it.
    """

    version: str
    transformers: str
    keys: Mapping[str, KeyFact]
    templates: tuple[str, ...]
    model_templates: Mapping[str, str]

    def template_for(self, model_name_or_path: str) -> str | None:
        """The template that the engine's map gives a model, by its hub path, or by the last part of a folder's path.

        >>> load_engine_facts().template_for("/models/Qwen2.5-7B-Instruct/")
        'qwen'
        """
        exact = self.model_templates.get(model_name_or_path)
        if exact is not None:
            return exact
        name = _last_part(model_name_or_path)
        return next((template for path, template in self.model_templates.items() if _last_part(path) == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the shipped table; `facts_from_json` reads them back."""
        return asdict(self) | {"keys": {name: asdict(fact) for name, fact in self.keys.items()}}


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()


def facts_from_json(value: Mapping[str, Any]) -> EngineFacts:
    """The facts from what `EngineFacts.to_json` gave."""
    keys = {
        name: KeyFact(**{**fact, "types": tuple(fact["types"]), "choices": tuple(fact["choices"])})
        for name, fact in value["keys"].items()
    }
    return EngineFacts(
        value["version"], value["transformers"], keys, tuple(value["templates"]), dict(value["model_templates"])
    )


def load_engine_facts(engine: Engine | None = None) -> EngineFacts:
    """The facts of an engine; without one, and for the version it was taken from, those of the shipped table."""
    shipped = facts_from_json(orjson.loads(FACTS_TABLE.read_bytes()))
    if engine is None:
        return shipped
    versions = (engine.version, package_version(engine, "transformers"))
    # Reading the source takes time: needless where the table says the same, to which an engine test holds it.
    return shipped if versions == (shipped.version, shipped.transformers) else read_engine_facts(engine)


def read_engine_facts(engine: Engine) -> EngineFacts:
    """Read the facts from the source of an installed engine (0.5 s).

    Raises:
        PreflightError: the engine or its transformers is not there as a whole, or is built in another way.
    """
    try:
        return _read_source(engine)
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        raise PreflightError(
            f"LLaMA-Factory {engine.version} in {engine.package} can't be read: {error}",
            hint=f"{engine.python} -m pip install 'llamafactory=={SUPPORTED_VERSION}' installs it with what it needs.",
        ) from error


def _read_source(engine: Engine) -> EngineFacts:
    transformers = engine.site_packages / "transformers"
    modules = SourceModules(
        [
            transformers / "trainer_utils.py",
            transformers / "debug_utils.py",
            transformers / "training_args.py",
            transformers / "training_args_seq2seq.py",
            engine.package / "extras" / "constants.py",
            *sorted((engine.package / "hparams").glob("*_args.py")),
        ]
    )
    _join_training_arguments(modules, transformers)
    return EngineFacts(
        version=engine.version,
        transformers=package_version(engine, "transformers") or "",
        keys=_keys(modules),
        templates=tuple(_templates(engine.package / "data" / "template.py")),
        model_templates=dict(_model_templates(engine.package / "extras" / "constants.py")),
    )


def _join_training_arguments(modules: SourceModules, transformers: Path) -> None:
    """Both projects call their class TrainingArguments, and the engine's base is chosen when it is imported."""
    theirs = SourceModules([transformers / "training_args.py"]).classes["TrainingArguments"]
    modules.classes["HfTrainingArguments"] = theirs
    modules.classes["Seq2SeqTrainingArguments"].bases = [ast.Name("HfTrainingArguments")]
    own = modules.classes["TrainingArguments"]
    own.bases = [
        ast.Name("Seq2SeqTrainingArguments") if ast.unparse(base) == "BaseTrainingArguments" else base
        for base in own.bases
    ]


def _keys(modules: SourceModules) -> dict[str, KeyFact]:
    keys: dict[str, KeyFact] = {}
    for root, group in ROOTS.items():
        lists = modules.split_lists(root)
        for name, field in modules.fields(root).items():
            keys.setdefault(name, _key_fact(name, field, group, as_list=name in lists))
    return keys


def _key_fact(name: str, field: SourceField, group: str, *, as_list: bool) -> KeyFact:
    types = (*field.types, "list") if as_list and "list" not in field.types else field.types
    return KeyFact(name, types, field.default, field.choices, field.help, group)


def _calls(path: Path, function: str) -> Iterator[dict[str, ast.expr]]:
    """The keyword arguments of each call of a function at the top of a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == function:
            yield {keyword.arg: keyword.value for keyword in node.value.keywords if keyword.arg}


def _templates(path: Path) -> Iterator[str]:
    for call in _calls(path, "register_template"):
        yield ast.literal_eval(call["name"])


def _model_templates(path: Path) -> Iterator[tuple[str, str]]:
    for call in _calls(path, "register_model_group"):
        template = ast.literal_eval(call["template"]) if "template" in call else None
        models = call["models"]
        if template is None or not isinstance(models, ast.Dict):
            continue
        for name, sources in zip(models.keys, models.values, strict=True):
            text = name.value if isinstance(name, ast.Constant) else ""
            tuned = "multimodal" in call or any(suffix in str(text) for suffix in _TUNED_SUFFIXES)
            if tuned and isinstance(sources, ast.Dict):
                for source in sources.values:
                    yield ast.literal_eval(source), template
