"""The tuning server: keeps fine-tuning jobs, runs each as a process of its own, and tells a gateway what to publish.

It is a small HTTP server on a Unix socket (``python -m engines.tuning``) that a gateway starts and asks. It imports no
framework for training: a job is ``python -m engines.train JOB_FOLDER``, which writes what happens into its folder.
"""
