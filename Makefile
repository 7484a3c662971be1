# What each target does is in scripts/; this only names them.

.DEFAULT_GOAL := build
.PHONY: help build install screenshot man demo check test full fuzz soak lint bench e2e publish-as e2e-nats

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12

build: ## ./phx, one static binary
	@scripts/build

install: ## phx into Go's bin directory, and where that is
	@scripts/build --install

screenshot: ## docs/terminal.svg anew, from a real run
	@scripts/screenshot

man: ## manual pages into ./man
	@scripts/man

demo: ## see it work: a server, a listener, a push; leaves ./phx
	@scripts/demo

check: ## what one runs all day: formatting, vet, every test but the long ones
	@scripts/check

test: ## the test suite: race detector where it matters, the real binary, coverage floors
	@scripts/test

full: ## everything: the long tests, race detector everywhere, other systems
	@scripts/full

fuzz: ## each fuzz target for FUZZTIME (20s)
	@scripts/fuzz

soak: ## phx serve under load and in trouble for SOAK_TIME (60s)
	@scripts/soak

lint: ## formatting, vet, staticcheck, shellcheck
	@scripts/lint

bench: ## phx beside a bare WebSocket loop, as ratios
	@scripts/bench

e2e: ## against a real Phoenix server (PHX_E2E_URI, or Elixir)
	@scripts/e2e

publish-as: ## give the module another path: MODULE=example.com/you/phx
	@scripts/publish-as "$(MODULE)"

e2e-nats: ## three phx serve that share connections by leases, on three NATS servers
	@scripts/e2e-nats
