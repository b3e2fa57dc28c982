.PHONY: install test lint types check demo benchmark generated cards pages figures screenshots docs

install:
	pip install -r requirements.txt -e ".[app,train,test,dev]"

test:
	pytest -n 2 --dist loadfile

lint:
	ruff check .
	ruff format --check .

types:
	mypy

check: lint types
	python -m model_cards.make --check
	python -m docs.pages --check
	python -m docs.figures --check

demo:
	python -m textir_hf demo

benchmark:
	python -m benchmarks.speed
	python -m benchmarks.photos

generated: figures cards pages

cards:
	python -m model_cards.make

pages:
	python -m docs.pages

figures:
	python -m docs.figures

screenshots:
	python -m docs.screenshots

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
