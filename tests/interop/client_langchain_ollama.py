"""langchain-ollama against the relay: invoke, stream, embeddings."""
import os
import sys

from langchain_ollama import ChatOllama, OllamaEmbeddings

url, model = sys.argv[1:3]
headers = {"headers": {"Authorization": "Bearer " + os.environ["CAUSEWAY_API_KEY"]}}
chat = ChatOllama(model=model, base_url=url, num_predict=12, seed=1, temperature=0, client_kwargs=headers)

answer = chat.invoke("Say hello.")
assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer
parts = list(chat.stream("Say hello."))
assert len(parts) > 1 and "".join(part.content for part in parts).strip(), parts
assert parts[-1].response_metadata or any(part.response_metadata for part in parts)

vectors = OllamaEmbeddings(model=model, base_url=url, client_kwargs=headers).embed_documents(["one", "two"])
assert len(vectors) == 2 and vectors[0], vectors
