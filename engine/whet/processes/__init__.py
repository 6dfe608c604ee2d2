"""The processes of a job: what they tell each other, and how one knows that another is alive."""
