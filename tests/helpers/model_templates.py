"""What the chat templates of well-known models write, in the fewest words, for the tests.

Each with the tokens that its tokenizer adds. `[CLS]` and `[SEP]` stand for its begin and end.
"""

from typing import Any

from tests.helpers.tokenizers import byte_level

CHATML = """\
{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

ZEPHYR = """\
{% for m in messages %}
{% if m.role in ['user', 'system', 'assistant'] %}
{{ '<|' + m.role + '|>\n' + m.content + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

# The system message within the first question.
LLAMA_2 = """\
{% set first = messages[0].role == 'system' %}
{% for m in (messages[1:] if first else messages) %}
{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}
{% set content = m.content %}
{% if loop.first and first %}
{% set content = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' + content %}{% endif %}
{% if m.role == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

# A call is alone in its message, and is one.
LLAMA_3_1 = """\
{{- bos_token }}
{%- macro header(role) %}{{ '<|start_header_id|>' + role + '<|end_header_id|>\n\n' }}{% endmacro %}
{%- set system = '' %}
{%- if messages[0].role == 'system' %}
    {%- set system, messages = messages[0].content | trim, messages[1:] %}
{%- endif %}
{{- header('system') + 'Today Date: 26 Jul 2024\n\n' + system + '<|eot_id|>' }}
{%- if tools %}
    {{- header('user') + 'Given the following functions\n\n' }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) + '\n\n' }}{% endfor %}
    {{- messages[0].content | trim + '<|eot_id|>' }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for m in messages %}
    {%- if 'tool_calls' in m %}
        {%- if m.tool_calls | length != 1 %}
            {{- raise_exception('This model only supports single tool-calls at once!') }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- header('assistant') + '{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson + '}<|eot_id|>' }}
    {%- elif m.role == 'tool' %}
        {{- header('ipython') + m.content | tojson + '<|eot_id|>' }}
    {%- else %}
        {{- header(m.role) + m.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- header('assistant') }}{% endif %}"""

# The system message and the tools before the last question, the former only until it is answered.
MISTRAL = """\
{%- set system = none %}
{%- if messages[0].role == 'system' %}
    {%- set system, messages = messages[0].content, messages[1:] %}
{%- endif %}
{%- set asked = messages | selectattr('role', 'equalto', 'user') | list %}
{%- set ns = namespace(index=0) %}
{%- for m in messages if m.role != 'tool' and not m.tool_calls %}
    {%- if (m.role == 'user') != (ns.index % 2 == 0) %}
        {{- raise_exception('conversation roles must alternate') }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {%- if tools and m == asked[-1] %}
            {{- '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + (system + '\n\n' if loop.last and system else '') + m.content + '[/INST]' }}
    {%- elif m.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in m.tool_calls %}
            {%- if call.id | length != 9 %}{{- raise_exception('IDs have 9 letters') }}{% endif %}
            {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif m.role == 'tool' %}
        {{- '[TOOL_RESULTS]' + {'content': m.content} | tojson + '[/TOOL_RESULTS]' }}
    {%- else %}
        {{- ' ' + m.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}"""

GEMMA = """\
{{ bos_token }}{% for m in messages %}
{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{% set role = 'model' if m.role == 'assistant' else m.role %}
{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

# One token more behind the last turn.
PHI_3 = """\
{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""

_CALLS = """\
        {%- for call in m.tool_calls or [] %}
            {{- '\n' if content or not loop.first else '' }}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""

_SYSTEM = """\
{%- set system = messages[0].content if messages[0].role == 'system' else DEFAULT %}
{%- if tools %}
    {{- '<|im_start|>system\n' + system + '\n\n# Tools\n' }}
    {%- for tool in tools %}{{- '\n' + tool | tojson }}{% endfor %}
    {{- '<|im_end|>\n' }}
{%- elif system %}
    {{- '<|im_start|>system\n' + system + '<|im_end|>\n' }}
{%- endif %}
"""

QWEN_2_5 = (
    _SYSTEM.replace("DEFAULT", "'You are Qwen.'")
    + """\
{%- for m in messages %}
    {%- set content = m.content or '' %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif m.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' + content }}
"""
    + _CALLS
)

# Thoughts are written behind the last question only; there the last turn has some in any case.
QWEN_3 = (
    _SYSTEM.replace("DEFAULT", "''")
    + """\
{%- set ns = namespace(last=messages | length - 1, found=false) %}
{%- for m in messages[::-1] %}
    {%- if m.role == 'user' and not ns.found %}
        {%- set ns.found, ns.last = true, messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content, thoughts = m.content or '', m.reasoning_content or '' %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif m.role == 'assistant' %}
        {%- if not thoughts and '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}
            {{- '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' }}
        {%- endif %}
        {{- content }}
"""
    + _CALLS
)

# The prompt opens the thoughts, and none are written.
DEEPSEEK_R1 = """\
{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'system' %}
        {{- m.content }}
    {%- elif m.role == 'user' %}
        {{- '<｜User｜>' + m.content }}
    {%- elif m.role == 'assistant' and not m.content %}
        {{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
        {%- for call in m.tool_calls %}
            {{- '<｜tool▁call▁begin｜>' + call.function.name + call.function.arguments | tojson }}
            {{- '<｜tool▁call▁end｜>' }}
        {%- endfor %}
        {{- '<｜tool▁calls▁end｜>' + eos_token }}
    {%- elif m.role == 'assistant' %}
        {{- '<｜Assistant｜>' + m.content.split('</think>')[-1] + eos_token }}
    {%- else %}
        {{- '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\n' }}{% endif %}"""

# Channels; a call is one and ends with a token of its own, as the last turn does.
GPT_OSS = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{{- '<|start|>system<|message|>You are ChatGPT.<|end|>' }}
{%- if system or tools %}
    {{- '<|start|>developer<|message|># Instructions\n\n' + system }}
    {%- for tool in tools or [] %}
        {{- '\ntype ' + tool.function.name + ' = () => any;' }}
    {%- endfor %}
    {{- '<|end|>' }}
{%- endif %}
{%- for m in (messages[1:] if system else messages) %}
    {%- set channel = '<|start|>assistant<|channel|>' %}
    {%- if m.role == 'user' %}
        {{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
    {%- elif m.role == 'assistant' and m.tool_calls %}
        {%- if m.content or m.thinking %}
            {{- channel + 'analysis<|message|>' + (m.content or m.thinking) + '<|end|>' }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json' }}
        {{- '<|message|>' + call.arguments | tojson + '<|call|>' }}
    {%- elif m.role == 'assistant' and loop.last and not add_generation_prompt %}
        {%- if m.thinking %}
            {{- channel + 'analysis<|message|>' + m.thinking + '<|end|>' }}
        {%- endif %}
        {{- channel + 'final<|message|>' + m.content + '<|return|>' }}
    {%- elif m.role == 'assistant' %}
        {{- channel + 'final<|message|>' + m.content + '<|end|>' }}
    {%- elif m.role == 'tool' %}
        {{- '<|start|>functions to=assistant<|message|>' + m.content | tojson + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{% endif %}"""

# Contents as lists of parts; a text is left out.
SMOLVLM = """\
<|im_start|>{% for m in messages %}{{ m.role | capitalize }}:
{%- if m.content[0].type != 'image' %} {% endif %}
{%- for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

TEMPLATES = {
    "ChatML": (CHATML, ["<|im_start|>", "<|im_end|>"]),
    "Zephyr": (ZEPHYR, []),
    "Llama 2": (LLAMA_2, []),
    "Llama 3.1": (LLAMA_3_1, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "Mistral": (MISTRAL, ["[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]"]),
    "Gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"]),
    "Phi 3": (PHI_3, ["<|user|>", "<|assistant|>", "<|end|>"]),
    "Qwen 2.5": (QWEN_2_5, ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]),
    "Qwen 3": (QWEN_3, ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "</think>"]),
    "DeepSeek R1": (
        DEEPSEEK_R1,
        [
            "<｜User｜>",
            "<｜Assistant｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "</think>",
        ],
    ),
    "gpt-oss": (
        GPT_OSS,
        ["<|start|>", "<|end|>", "<|channel|>", "<|message|>", "<|call|>", "<|return|>"],
    ),
    "SmolVLM": (SMOLVLM, ["<|im_start|>", "<end_of_utterance>"]),
}


def tokenizer_of(name: str) -> Any:
    """A small tokenizer with the template and the added tokens of a model."""
    tokenizer = byte_level()
    tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
    tokenizer.chat_template, added = TEMPLATES[name]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    return tokenizer
