"""Chat templates in the manner of well-known models, written for the tests."""

# As Qwen: tools in the system message, calls as JSON, answers of tools as the user's.
WITH_TOOLS = """\
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] + '\n\n' }}
    {%- endif %}
    {{- '# Tools\n' }}
    {%- for tool in tools %}
        {{- tool | tojson ~ '\n' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and not ns.found %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
        {%- set ns.found = true %}
    {%- endif %}
{%- endfor %}
{%- macro call_of(call) %}
    {{- '\n<tool_call>\n{"name": "' ~ call.name ~ '", "arguments": ' }}
    {{- call.arguments | tojson }}
    {{- '}\n</tool_call>' }}
{%- endmacro %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- set thoughts = message.reasoning_content | default('') %}
        {%- if thoughts and loop.index0 > ns.last %}
            {{- '<think>\n' ~ thoughts.strip('\n') ~ '\n</think>\n' }}
        {%- endif %}
        {%- if message.content is defined and message.content is string %}
            {%- generation %}{{- message.content.split('</think>')[-1].lstrip('\n') }}
            {%- endgeneration %}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- call_of(call.function or call) }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' ~ message.content ~ '\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# As Mistral and Gemma: no system message, turns must alternate.
ALTERNATES = """\
{{ bos_token }}{% for message in messages %}
{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant') }}
{% endif %}
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = 'user' %}
{% endif %}
{{ '<start>' + role + '\n' + message['content'] | trim + '<end>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start>model\n' }}{% endif %}
"""

# As DeepSeek's R1: the prompt opens the thoughts, and answers are written without any.
OPENS_THOUGHTS = """\
{% for m in messages %}{% if m.role == 'user' %}{{ '<u>' + m.content }}{% else %}
{{- '<a>' + m.content.split('</think>')[-1] + '<end>' }}{% endif %}{% endfor -%}
{% if add_generation_prompt %}{{ '<a><think>\n' }}{% endif %}"""

# Writes users and assistants alone, and leaves out everything else without a word.
DEAF = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<s>{{ m.role }}\n{{ m.content "
    "or '' }}</s>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)

# As Llama 2 and others: slices, tests, filters, blocks, joins.
FILTERS = """\
{% set rest = messages[1:] if messages[0].role == 'system' else messages %}
{% set head %}{{ messages[0].content if messages[0].role == 'system' }}{% endset %}
{% for m in rest if m.content %}
{%- if loop.index0 is divisibleby 2 and loop.first %}{{ '[S]' ~ head ~ '[/S]' }}{% endif -%}
[{{ loop.index }}/{{ loop.length }}] {{ m.role | upper }}: {{ m.content | trim | indent(2) }}
{% if not loop.last %}{{ ['-', '-'] | join('+') }}{% else %}{{ '%s|%05d' % ('end', loop.revindex) }}
{% endif %}
{% if m.content | length > 40 %}{% continue %}{% endif %}{{ "{:>6}".format(m.role) }}
{% endfor %}
{{- messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | tojson }}
{{- dict(a=1, b=(2, 3)) | items | list }}{{ 'x' * 3 }}{{ messages | map(attribute='role') | unique
| sort | join(',') }}{{ none }}{{ missing }}{{ 7 // 2 }}{{ 2 ** 3 }}{{ strftime_now('%Y') }}
"""
