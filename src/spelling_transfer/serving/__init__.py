"""The endpoint of the trained model, in non-thinking mode only, and its check before it ships.

`deployable` is the folder that is served; `protocol` has the requests, `responses` the responses. `engine` and `batch`
answer without HTTP, `vllm_engine` does so with vLLM; `worker` is the process around them, `link` the front's end of its
pipe, `messages` the messages in it. `front` has the routes, `guard` the middleware, `outcome` how each request ended;
`server` is the process of these, and `process` starts and ends it. `client` sends requests; `checks` and `deployment`
test conformance and speed.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
