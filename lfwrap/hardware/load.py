"""The machine that ``--hardware`` names: this one, one of the catalogue, several GPUs of a kind, or a profile file."""

from __future__ import annotations

import re
from pathlib import Path

from lfwrap.errors import UsageError
from lfwrap.hardware.profile import DeviceKind, HardwareProfile, catalog_machine, catalog_names, load_profile
from lfwrap.suggest import nearest

_MULTIPLE = re.compile(r"^(\d+)\s*[x×*]\s*(.+)$", re.IGNORECASE)


def load_hardware(spec: str) -> HardwareProfile:
    """The machine that ``--hardware`` names.

    Args:
        spec: ``auto`` (probe this machine), a catalogue name, ``N x NAME`` in any usual spelling (``2x-h100-80gb``,
            ``2xh100-80gb``), or the path of a profile written by ``lfwrap hardware probe``.

    Raises:
        UsageError: no such machine, with the nearest names.
        PreflightError: the profile file makes no sense.
        RecipeError: the profile file is not valid YAML.

    Example:
        >>> load_hardware("2 x H100-80GB").name
        '2x-h100-80gb'
    """
    text = spec.strip()
    if text == "auto":
        from lfwrap.hardware.probe import probe_hardware

        return probe_hardware()
    path = Path(text).expanduser()
    if path.suffix in {".yaml", ".yml", ".json"} or path.is_file():
        return load_profile(path)
    name, count = _split_multiple(text)
    if name not in catalog_names() or count < 1:
        raise _unknown_machine(spec, name)
    if count > 1 and catalog_machine(name).kind in {DeviceKind.CPU, DeviceKind.MPS}:
        raise UsageError(f"{spec}: only machines with separate GPUs come in multiples.", hint=f"Say '{name}'.")
    return catalog_machine(name, count)


def _split_multiple(text: str) -> tuple[str, int]:
    """The catalogue's name and the number of GPUs: ``2 x H100 80GB`` → (``h100-80gb``, 2)."""
    found = _MULTIPLE.match(text)
    count, name = (int(found[1]), found[2]) if found else (1, text)
    return re.sub(r"[\s_]+", "-", name.strip(" -_").lower()), count


def _unknown_machine(spec: str, name: str) -> UsageError:
    near = nearest(name, catalog_names(), count=3, alike=0.4)
    near += [known for known in catalog_names() if known.startswith(f"{name}-") and known not in near]
    hint = f"Nearest: {', '.join(near)}. " if near else ""
    return UsageError(
        f"--hardware {spec}: no such machine or file.",
        hint=f"{hint}`lfwrap hardware list` names all; 'auto' probes this machine.",
    )
