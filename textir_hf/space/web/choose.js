element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('select', { choice: button.dataset.choice });
});
