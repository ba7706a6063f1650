import os

from celery import Celery

# As Celery comes, but for a queue of its own on the broker that both share.
app = Celery("textbook", broker=os.environ["REDIS_URL"], include=["bench.textbook.tasks"])
app.conf.task_default_queue = "textbook"
