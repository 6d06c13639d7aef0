"""The character tokenizer of the embedded models, as an ordinary Hugging Face tokenizer."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

EOS, PAD, UNKNOWN = "<|endoftext|>", "<|pad|>", "<|unk|>"
CHARACTERS = "\n" + "".join(sorted(set(string.printable) - set("\t\n\r\x0b\x0c")))
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def character_tokenizer() -> Qwen2Tokenizer:
    """One token per printable ASCII character and newline; no token is added in front; EOS ends a response.

    It is Qwen2's byte-level tokenizer with these characters as vocabulary and no merges, because transformers loads
    every tokenizer beside a Qwen2 model as that class. Other characters are dropped, as byte-level tokenizers drop
    bytes that their vocabulary lacks.
    """
    from transformers import Qwen2Tokenizer

    # the byte-level alphabet shifts the two unprintable characters
    symbols = {" ": "\u0120", "\n": "\u010a"}
    tokens = [EOS, PAD, UNKNOWN, *(symbols.get(character, character) for character in CHARACTERS)]
    return Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
    )
