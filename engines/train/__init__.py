"""Fine-tuning jobs: ``python -m engines.train JOB_FOLDER`` trains, measures, exports and writes down what came of it.

``job`` says what is asked and where everything lies, ``examples`` reads and checks training data without torch,
``classifier`` makes an ONNX classifier of an encoder, ``chat`` a LoRA adapter for a chat model. Both train with
``loop``, which keeps to a time budget (``schedule``) and can be stopped and gone on with (``checkpoints``).
"""
