"""The data plane: loaded models answer over HTTP with the V2 Open Inference Protocol.

`server.serve` is the way in; `app.create_app` is the ASGI application; `batcher.Batcher` is where requests become
batches. Nothing of the training site is imported here.
"""
