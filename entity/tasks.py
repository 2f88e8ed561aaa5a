"""Which task the code that runs just now belongs to, as log lines tell it. Asks the SDK; knows no log."""

from typing import Any

from temporalio import activity, workflow


def task_ids() -> dict[str, Any]:
    """Of the workflow or the activity, on the event loop or in a thread, that this is called from; else
    nothing. `replaying`: what it says was said before."""
    if activity.in_activity():
        doing = activity.info()
        return {
            "workflow_id": doing.workflow_id,
            "run_id": doing.workflow_run_id,
            "workflow_type": doing.workflow_type,
            "activity_id": doing.activity_id,
            "activity_type": doing.activity_type,
            "attempt": doing.attempt,
            "task_queue": doing.task_queue,
        }
    if workflow.in_workflow():
        info = workflow.info()
        return {
            "workflow_id": info.workflow_id,
            "run_id": info.run_id,
            "workflow_type": info.workflow_type,
            "attempt": info.attempt,
            "task_queue": info.task_queue,
            "replaying": workflow.unsafe.is_replaying() or None,
        }
    return {}
