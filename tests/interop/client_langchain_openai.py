"""langchain-openai. Its own max_tokens travels as max_completion_tokens."""
import openai
from cells import *
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def model(name, key=KEY, **more):
    return ChatOpenAI(model=name, base_url=URL + "/v1", api_key=key, max_retries=0, temperature=0, **more)


def chat():
    answer = model(MODELS["plain"], extra_body={"max_tokens": 12}).invoke(HELLO)
    assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer


def stream():
    parts = list(model(MODELS["plain"], extra_body={"max_tokens": 12}).stream(HELLO))
    assert len(parts) > 1 and "".join(part.content for part in parts).strip(), parts


def errors():
    assert MISSING in str(raises(openai.NotFoundError, lambda: model(MISSING).invoke(HELLO)))
    raises(openai.AuthenticationError, lambda: model(MODELS["plain"], WRONG_KEY).invoke(HELLO))
    bad = model(MODELS["plain"], extra_body={"max_tokens": "many"})
    raises(openai.BadRequestError, lambda: bad.invoke(HELLO))


def embeddings():
    # Token arrays are OpenAI's own; any other server is sent text.
    embedder = OpenAIEmbeddings(
        model=MODELS["plain"], base_url=URL + "/v1", api_key=KEY, max_retries=0, check_embedding_ctx_length=False
    )
    vectors = embedder.embed_documents(["one", "two"])
    assert len(vectors) == 2 and vectors[0], vectors


def overload():
    default = ChatOpenAI(model=MODELS["slow"], base_url=URL + "/v1", api_key=KEY)
    eight_at_once(lambda text: default.invoke(text).content)


run([chat, stream, errors, embeddings, overload])
