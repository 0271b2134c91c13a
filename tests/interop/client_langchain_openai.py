"""langchain-openai against the relay: invoke, stream, embeddings."""
import os
import sys

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

url, model = sys.argv[1:3]
key = os.environ["CAUSEWAY_API_KEY"]
# Its own max_tokens travels as max_completion_tokens, which Ollama's /v1 ignores.
chat = ChatOpenAI(model=model, base_url=url + "/v1", api_key=key, max_retries=0, extra_body={"max_tokens": 12})

answer = chat.invoke("Say hello.")
assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer
parts = list(chat.stream("Say hello."))
assert len(parts) > 1 and "".join(part.content for part in parts).strip(), parts

# Token arrays are OpenAI's own; any other server is sent text.
embeddings = OpenAIEmbeddings(
    model=model, base_url=url + "/v1", api_key=key, max_retries=0, check_embedding_ctx_length=False
)
vectors = embeddings.embed_documents(["one", "two"])
assert len(vectors) == 2 and vectors[0], vectors
