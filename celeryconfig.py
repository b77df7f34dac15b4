"""Celery, settled: why each line is as it is stands in docs/architecture.md ("Celery").

Messages are hints and PostgreSQL is the queue of record, so nothing here keeps state or retries in the broker.
"""

accept_content = ["json"]
task_serializer = "json"
event_serializer = "json"
result_backend = None
task_ignore_result = True

# A message is dropped as soon as it is taken: the job's row, not the broker, remembers it.
task_acks_late = False
task_reject_on_worker_lost = False
worker_disable_prefetch = True
worker_prefetch_multiplier = 1

# No time limits: threads cannot be killed. Leases, deadlines and the supervisor's liveness pipe do that work.
task_time_limit = None
task_soft_time_limit = None
worker_enable_remote_control = True
worker_send_task_events = True
worker_consumer = "workers.consumer:Consumer"  # sends them once a second
task_send_sent_event = False
worker_hijack_root_logger = False
worker_cancel_long_running_tasks_on_connection_loss = False
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_pool_limit = 10
broker_transport_options = {
    "ack_emulation": False,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    "queue_order_strategy": "priority",  # the queues of a worker in the order given: `express` before `scans`
    "priority_steps": [0],
}
task_publish_retry = True
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
task_default_queue = "scans"
task_create_missing_queues = True
task_default_exchange = ""
task_default_exchange_type = "direct"
task_default_routing_key = "scans"
timezone = "UTC"
enable_utc = True
