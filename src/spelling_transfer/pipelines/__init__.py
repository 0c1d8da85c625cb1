"""The five pipelines: wiring in pipeline.py, thin and pure nodes in nodes.py."""
