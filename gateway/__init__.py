"""The gateway: HTTP in, HTTP out; who may ask, when, of whom; and what is measured.

Everything here is told in five nouns. A **request** is one OpenAI-shaped HTTP request, with the facts learnt about it
on its way (``RequestContext``). An **engine** is a kind of program that answers such requests over HTTP. A **replica**
is one running copy of a model on one engine: an address, ready or not, with so many requests in flight. A **pool** is
the replicas of one model, the policy that picks among them and the admission in front of them. The **registry** finds a
pool by a model's name.

A request's way: ``http`` parses it, ``api`` says what it means and whether its key may ask, ``exchange`` admits it,
chooses a replica and relays the response, with ``http.upstream`` at the engine's side. Decisions are plain functions;
only input and output wait. The gateway never imports vllm, torch or onnxruntime.
"""
