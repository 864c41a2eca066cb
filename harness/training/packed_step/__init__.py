"""The forward pass of TRL's trainers over packs: what the sequences of a batch share is computed once."""
