from adaptkit.tasks.base import Task
class Classify(Task):
    name = "classify"
    auto_class = "AutoModelForSequenceClassification"
