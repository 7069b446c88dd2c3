import pytest

from lfwrap.data.redact import SECRET_NEEDLES, find_secrets, redact

SECRETS = [
    "sk-proj-" + "a1B2" * 8,
    "ghp_" + "x" * 36,
    "AKIA" + "ABCD" * 4,
    "AIza" + "b" * 35,
    "xoxb-" + "1" * 12,
    "hf_" + "Q" * 34,
    "glpat-" + "z" * 20,
    "-----BEGIN RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_and_not_shown(secret: str) -> None:
    text = f"my key is {secret}, thanks"
    assert find_secrets(text)
    assert secret not in redact(text)
    assert redact(text).startswith("my key is ")
    assert any(needle in text.encode() for needle in SECRET_NEEDLES)


@pytest.mark.parametrize("text", ["ask-me-anything about risk-taking", "the token ring", "hf_hub", "密码是什么？"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert find_secrets(text) == []
    assert redact(text) == text


@pytest.mark.parametrize(
    "text", ['{"env":{"OPENAI_API_KEY":"abcdef123456"}}', "Authorization: Bearer abcdef123456", "password=abcdef123456"]
)
def test_values_of_telling_names_are_redacted(text: str) -> None:
    assert "abcdef123456" not in redact(text)
