"""The events that the executor puts on record. A claim and a heartbeat say who works, not what happened: no record."""

EVENTS = {
    "agents.run.created": "Somebody gave an agent a task; the run keeps this release until it ends.",
    "agents.run.started": "A worker took up the run's first step.",
    "agents.run.parked": "The run waits for a person's decision, for time, for room in a limit, or for a settlement.",
    "agents.run.resumed": "What the run waited for is there.",
    "agents.run.succeeded": "The model gave its final answer, in the form that its prompt asks for.",
    "agents.run.failed": "The run ended without an answer; the code says why.",
    "agents.run.cancelled": "The run was ended from outside; lists what could not be undone.",
    "agents.run.compensated": "Every compensation that was declared for what the run had done has been carried out.",
    "agents.compensation.started": "A run that failed, or was cancelled so, begins to undo what it has done.",
    "agents.compensation.failed": "A compensation, or the run's as a whole, failed; lists what could not be undone.",
    "agents.cancellation.requested": "Somebody wants the run to end; what is under way may still finish.",
    "agents.step.finished": "A model answered or a tool call ended; the record fixes what the model sees of it.",
    "agents.step.requeued": "A person gave a dead step another chance, under the same key.",
}
