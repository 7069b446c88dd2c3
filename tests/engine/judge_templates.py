"""Build every template of the engine's as Jinja and hold it against the engine: judge_templates.py MODEL WORKERS FORMS.

Prints one JSON object: template → the conversations that tokenise otherwise. The tokenizer of MODEL has no merges, so
that nothing is joined over the border of two pieces, and each special token is given to it. FORMS is JSON: template →
how it has a user's words right after a result.
"""

import copy
import json
import logging
import re
import sys

TOKENS = re.compile(r"<\|[^|<>]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?[A-Z_]{3,20}\]|</?[a-z_:]+>|\[gMASK\]|<sop>")


def main(model: str, workers: str, forms: str) -> None:
    sys.path.insert(0, workers)
    from llamafactory.data.template import TEMPLATES
    from transformers import AutoTokenizer

    from lfwrap_worker.export import chat_template, jinja_template

    logging.disable(logging.CRITICAL)
    plain = AutoTokenizer.from_pretrained(model)
    found = {}
    for name, template in TEMPLATES.items():
        tokenizer, ours = copy.deepcopy(plain), copy.deepcopy(template)
        ours.fix_special_tokens(tokenizer)
        tokenizer.add_tokens(sorted(set(TOKENS.findall(repr(ours)))), special_tokens=True)
        form = json.loads(forms).get(name)
        text = jinja_template.build(ours, tokenizer, form[-1] if form else "")
        verdict = chat_template.judge("training", text, ours, tokenizer, form)
        found[name] = [difference["conversation"] for difference in verdict.differences]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
