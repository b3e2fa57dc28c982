.PHONY: install test lint types demo benchmark samples cards results docs pages figures screenshots

install:
	pip install -r requirements.txt -e ".[app,train,test,dev]"

test:
	pytest -n 2 --dist loadfile

lint:
	ruff check .
	ruff format --check .

types:
	mypy

demo:
	python -m textir_hf demo

benchmark:
	python -m benchmarks.startup
	python -m benchmarks.generator

samples:
	python -m model_cards.samples

cards:
	python -m model_cards.make

results:
	python -m model_cards.results

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

pages:
	python -m docs.pages

figures:
	python -m docs.figures

screenshots:
	python -m docs.screenshots
