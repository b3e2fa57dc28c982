const block = element.parentElement.closest('[id]'), place = element.querySelector('.ti-place');
new MutationObserver(() => {
  const found = /queue: (\d+)\/(\d+)/.exec(block.querySelector('.progress-text')?.textContent);
  const text = found ? `Waiting: place ${found[1]} of ${found[2]} in the queue.` : '';
  if (place.textContent !== text) place.textContent = text;
  const bar = block.querySelector('progress');
  const said = text || (bar ? block.querySelector('.ti-status p').textContent : '');
  if (block.offsetParent || !said) window.textir?.busy(said);
}).observe(block, { childList: true, characterData: true, subtree: true });
