#!/bin/sh
# llm (llm.datasette.io) on a house, through llm-ollama and through OpenAI's dialect.
#
#     tools/clients/llm_.sh http://127.0.0.1:11435 graine [EMBEDDER]
set -eu
url=$1 model=$2 embedder=${3:-}
LLM_USER_PATH=$(mktemp -d)
export LLM_USER_PATH OLLAMA_HOST="$url"
trap 'rm -rf "$LLM_USER_PATH"' EXIT
printf -- '- model_id: house\n  model_name: %s\n  api_base: "%s/v1"\n' "$model" "$url" > "$LLM_USER_PATH/extra-openai-models.yaml"
llm keys set openai --value any
llm ollama models
llm -m "$model:latest" -o temperature 0 -o num_predict 40 Bonjour
llm -m "$model:latest" --no-stream -o num_predict 20 Bonjour
llm -m house -o temperature 0 -o max_tokens 40 Bonjour
if [ -n "$embedder" ]; then
  llm embed -m "$embedder:latest" -c bonjour | cut -c1-60
fi
