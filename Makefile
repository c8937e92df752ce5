# The two commands of the README. Each does its own set-up (see scripts/setup) and takes arguments: make demo ARGS="--help"
.PHONY: demo test setup ci

demo:
	@scripts/demo $(ARGS)

test:
	@scripts/test $(ARGS)

# Only the set-up of both.
setup:
	@scripts/setup test

# What a submission must pass.
ci:
	@.ci/run
