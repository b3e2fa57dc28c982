"""TextIRPipeline: prepare what was asked, run the network on batches, finish the images."""
