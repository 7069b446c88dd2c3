"""How templates say a user's words right after a tool's result, for which the engine has no place.

The engine takes turns by two: what is read, then what is learnt. A result and the user's words after it are two turns
to read in a row, which models' own chat templates may write but the engine drops. Where one of its turns can hold both,
so that the text of the whole comes out as the model's own chat template writes it, that turn is used.

A template stands here only if its models' published chat templates write the same characters, for a result alone and
for a result with a user's turn after it. Llama's quote a result as JSON text where the engine writes it bare; that is
so for every result, and nothing else differs. An engine test holds each form to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JoinedTurn:
    """One turn of the engine's that holds a tool's result and what the user says after it.

    Attributes:
        speaker: whose turn it is for the engine, ``observation`` or ``human``: the one whose end is the user's.
        opening: what stands before the result, where the engine's turn does not begin as a result does.
        between: the end of the result's turn and the beginning of the user's.
    """

    speaker: str
    opening: str
    between: str

    def text(self, result: str, said: str) -> str:
        r"""The content of the engine's turn.

        >>> JoinedTurn("observation", "", "<|user|>\n").text("15", "And tomorrow?")
        '15<|user|>\nAnd tomorrow?'
        """
        return f"{self.opening}{result}{self.between}{said}"


_CHATML = JoinedTurn("observation", "", "<|im_end|>\n<|im_start|>user\n")
# Results stand in a user's turn, within marks that an observation would close only after the user's words.
_QWEN = JoinedTurn("human", "<tool_response>\n", "\n</tool_response><|im_end|>\n<|im_start|>user\n")
_LLAMA3 = JoinedTurn("observation", "", "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n")
_LLAMA4 = JoinedTurn("observation", "", "<|eot|><|header_start|>user<|header_end|>\n\n")
_GLM4 = JoinedTurn("observation", "", "<|user|>\n")

JOINED_TURNS: Mapping[str, JoinedTurn] = {
    "chatml": _CHATML,
    "cpm4": _CHATML,
    "falcon_h1": _CHATML,
    "glm4": _GLM4,
    "llama3": _LLAMA3,
    "llama4": _LLAMA4,
    "mllama": _LLAMA3,
    "qwen": _QWEN,
    "qwen3": _QWEN,
    "qwen3_5": _QWEN,
    "qwen3_5_nothink": _QWEN,
    "qwen3_6": _QWEN,
    "qwen3_nothink": _QWEN,
    "qwen3_omni": _QWEN,
    "qwen3_omni_nothink": _QWEN,
    "qwen3_vl": _QWEN,
    "qwen3_vl_nothink": _QWEN,
}
