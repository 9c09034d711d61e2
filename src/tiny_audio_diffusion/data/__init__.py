"""From folders of sound files to batches."""
