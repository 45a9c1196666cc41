// What a page of another site can try, each a promise of the text that it got; nothing is ''.
(() => {
  const hidden = (frame) => {
    try {
      return frame.contentDocument.body.innerText;
    } catch {
      return '';
    }
  };
  const element = (name, url, got) => new Promise((done) => {
    const made = document.createElement(name);
    if (name === 'link') made.rel = 'stylesheet';
    made.onload = () => done(got);
    made.onerror = () => done('');
    made[name === 'link' ? 'href' : 'src'] = url;
    document.body.append(made);
  });
  const read = (url, how) => fetch(url, how).then((answer) => answer.text());
  const attempts = {
    fetch: (url) => read(url),
    fetchWithAHeader: (url) => read(url, { headers: { 'X-A': 'b' } }),
    fetchWithoutCors: (url) => read(url, { mode: 'no-cors' }),
    postJson: (url) => read(url, { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } }),
    postText: (url) => read(url, { method: 'POST', mode: 'no-cors', body: '{}' }),
    delete: (url) => read(url, { method: 'DELETE' }),
    beacon: (url) => Promise.resolve(navigator.sendBeacon(url, '{}')).then(() => ''),
    image: (url) => element('img', url, 'loaded'),
    script: (url) => element('script', url, 'ran'),
    style: (url) => element('link', url, 'loaded'),
    request: (url) => new Promise((done) => {
      const asked = new XMLHttpRequest();
      asked.onloadend = () => done(asked.responseText);
      asked.open('GET', url);
      asked.send();
    }),
    events: (url) => new Promise((done) => {
      const source = new EventSource(url);
      source.onopen = () => done('open');
      source.onerror = () => {
        source.close();
        done('');
      };
    }),
    websocket: (url) => new Promise((done) => {
      const socket = new WebSocket(url.replace('http', 'ws'));
      socket.onopen = () => done('open');
      socket.onerror = () => done('');
    }),
    frame: (url) => new Promise((done) => {
      const frame = document.createElement('iframe');
      frame.onload = () => done(hidden(frame));
      frame.src = url;
      document.body.append(frame);
    }),
    form: (url) => new Promise((done) => {
      const [frame, form] = [document.createElement('iframe'), document.createElement('form')];
      frame.name = form.target = `frame${Math.random()}`;
      Object.assign(form, { method: 'POST', action: url, enctype: 'text/plain' });
      document.body.append(frame, form);
      frame.onload = () => done(hidden(frame));
      form.submit();
    }),
  };
  const late = () => new Promise((done) => setTimeout(() => done('nothing within 10 s'), 10000));
  window.attempts = Object.keys(attempts);
  window.attempt = (name, url) => Promise.race([attempts[name](url), late()]).catch(() => '');
})();
