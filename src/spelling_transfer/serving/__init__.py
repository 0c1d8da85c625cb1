"""The endpoint of the trained model, in non-thinking mode only, and its check before it ships.

`deployable` is the folder that is served, `protocol` what is said to the endpoint and `responses` what it says.
`engine` and `batch` answer without HTTP, `vllm_engine` does so with vLLM; `worker` is the process around them, `link`
the front's end of its pipe, `messages` what goes through it. `front` has the routes, `guard` what stands before them,
`outcome` how each request ended; `server` is the process of these, and `process` starts and ends it. `client` asks;
`checks` and `deployment` find out whether the endpoint obeys and how fast it is.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
