"""A provider that only pretends: OpenAI-compatible, deterministic, and able to misbehave on request.

It stands behind the demo, the trials and the benchmarks, so it is fast and imports nothing else of
tokenopen. A word is a token: every number it reports can be recomputed from the request alone.

    app         path -> endpoint, authentication, recording
    delivery    how a reply goes out: at once, paced, cut, reset, silent ...
    directive   what the ``simulate`` object of a request may ask for
    reply       what an endpoint hands to delivery; error bodies
    words       the token rule and the text that obeys it
    chat, completion, embedding, response, message, model    one endpoint each
    journal     the log of received calls, and what was recorded
    server      uvicorn around it; process: the same as a child process, for tests
"""
