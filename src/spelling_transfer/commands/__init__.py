"""The commands of ``kedro`` in this project, one file each."""
