"""Print, as JSON, what the engine's own argument classes and registries hold; runs in the engine's Python."""

import dataclasses
import enum
import json
import sys

from llamafactory.data.template import TEMPLATES
from llamafactory.extras.constants import DEFAULT_TEMPLATE, SUPPORTED_MODELS
from llamafactory.hparams import parser


def plain(value):
    return value.value if isinstance(value, enum.Enum) else value


def default_of(field):
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else plain(field.default)


def main():
    fields = {}
    for group in parser._TRAIN_ARGS:
        for field in dataclasses.fields(group):
            if field.init:
                fields.setdefault(field.name, default_of(field))
    models = {path: DEFAULT_TEMPLATE.get(name) for name, paths in SUPPORTED_MODELS.items() for path in paths.values()}
    json.dump({"fields": fields, "templates": sorted(TEMPLATES), "models": models}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
