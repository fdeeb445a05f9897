"""HTTP: webhooks in, the REST API, pages, badges and live logs out.

Nothing here decides anything about a run: it reads a request, calls one verb of the engine or one read
model, and answers. Webhooks, badges and streams are bare ASGI, because they are many; the REST API is
FastAPI, because its OpenAPI document is its description.

What a proxy in front still has to do: TLS, limits on the rate and number of connections for each
client, and deadlines shorter than ours. Headers that take longer than 15 s, a webhook's body that takes
longer than 15 s and any request that takes longer than 30 s to arrive are cut off here.
"""
