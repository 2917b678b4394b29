/* Sends files one after the other by tus, shows how far each is, and goes on after a break, also after the page was
   closed: what an upload is called is kept in the browser. Read by engines back to 2014: ES5, XMLHttpRequest. Without
   it the form sends everything by itself. */
(function () {
  'use strict';

  var form = document.getElementById('upload');
  var input = document.getElementById('files');
  var list = document.getElementById('sending');
  if (!form || !input || !list || !window.File || !File.prototype.slice || !window.btoa) { return; }

  /* Milliseconds until a broken upload is gone on with: at once, then seldom enough for a box that restarts. */
  var PAUSES = [500, 1000, 2000, 4000, 8000, 15000];
  var VERSION = '1.0.0';
  var waiting = [];
  var sending = false;

  function text(element, value) {
    while (element.firstChild) { element.removeChild(element.firstChild); }
    element.appendChild(document.createTextNode(value));
  }

  function size(bytes) {
    var units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
    var unit = 0;
    while (bytes >= 999.5 && unit < 4) { bytes = bytes / 1000; unit = unit + 1; }
    return (unit && bytes < 9.95 ? bytes.toFixed(1) : Math.round(bytes)) + ' ' + units[unit];
  }

  /* A line of the list: the file's name, a bar, and words. */
  function Line(file) {
    var item = document.createElement('li');
    this.box = document.createElement('div');
    this.box.className = 'item';
    this.name = document.createElement('span');
    this.name.className = 'name';
    text(this.name, file.name);
    this.bar = document.createElement('progress');
    this.bar.max = 1;
    this.bar.value = 0;
    this.bar.setAttribute('aria-label', file.name);
    this.facts = document.createElement('span');
    this.facts.className = 'facts';
    this.facts.setAttribute('role', 'status');
    this.box.appendChild(this.name);
    this.box.appendChild(this.bar);
    this.box.appendChild(this.facts);
    item.appendChild(this.box);
    list.appendChild(item);
    this.say('Waits for its turn');
  }

  Line.prototype.say = function (words) {
    this.facts.setAttribute('aria-live', 'polite');
    text(this.facts, words);
  };

  Line.prototype.move = function (at, length, since, from) {
    var seconds = (new Date().getTime() - since) / 1000;
    var speed = seconds > 1 ? (at - from) / seconds : 0;
    var words = size(at) + ' of ' + size(length);
    this.bar.value = length ? at / length : 0;
    if (speed > 0) { words = words + ', ' + size(speed) + '/s'; }
    if (at === length) { this.say('Sent; the box looks into it'); return; }
    /* Numbers that change several times a second are for eyes alone; a screen reader would never come to an end of them. */
    this.facts.setAttribute('aria-live', 'off');
    text(this.facts, words);
  };

  Line.prototype.end = function (file) {
    var link = document.createElement('a');
    link.href = file.watch;
    text(link, file.name);
    text(this.name, '');
    this.name.appendChild(link);
    this.bar.value = 1;
    this.say(file.note || (file.status === 202 ? 'There; it is being converted to what every screen plays' : 'There'));
    this.box.setAttribute('data-status', file.status);
  };

  Line.prototype.fail = function (status, words) {
    this.say('Not taken: ' + words);
    this.box.className = 'item problem';
    this.box.setAttribute('data-status', status);
  };

  function key(file) { return 'rill-upload ' + file.name + ' ' + file.size + ' ' + (file.lastModified || 0); }

  function remember(file, url) {
    try { if (url) { localStorage.setItem(key(file), url); } else { localStorage.removeItem(key(file)); } } catch (e) { }
  }

  function remembered(file) {
    try { return localStorage.getItem(key(file)); } catch (e) { return null; }
  }

  function ask(method, url, headers, body, progress, done) {
    var request = new XMLHttpRequest();
    var name;
    request.open(method, url);
    request.setRequestHeader('Accept', 'application/json');
    request.setRequestHeader('Tus-Resumable', VERSION);
    for (name in headers) {
      if (headers.hasOwnProperty(name)) { request.setRequestHeader(name, headers[name]); }
    }
    if (progress && request.upload) { request.upload.onprogress = progress; }
    request.onload = function () { done(request.status, request); };
    request.onerror = function () { done(0, request); };
    request.send(body);
  }

  function detail(request) {
    try { return JSON.parse(request.responseText).detail; } catch (e) { return 'The box answered ' + request.status + '.'; }
  }

  function code(request) {
    try { return JSON.parse(request.responseText).error; } catch (e) { return ''; }
  }

  /* What cannot come right by trying again. */
  function isFinal(status) { return status >= 400 && status < 500 && status !== 409 && status !== 423 && status !== 408; }

  function send(file, next) {
    var line = file.line;
    var tries = 0;

    function again(why) {
      var pause = PAUSES[Math.min(tries, PAUSES.length - 1)];
      tries = tries + 1;
      line.say(why + '; it goes on in a moment');
      setTimeout(function () {
        var url = remembered(file);
        if (url) { resume(url); } else { create(); }
      }, pause);
    }

    function fail(status, request) {
      remember(file, null);
      if (status === 401) { location.href = '/login?next=/upload'; return; }
      line.fail(status, detail(request));
      next();
    }

    function create() {
      var name = btoa(unescape(encodeURIComponent(file.name)));
      var headers = { 'Upload-Length': String(file.size), 'Upload-Metadata': 'filename ' + name };
      ask('POST', '/api/uploads', headers, null, null, function (status, request) {
        if (status === 201) {
          var url = request.getResponseHeader('Location');
          remember(file, url);
          patch(url, 0);
        } else if (isFinal(status) || status === 507) {
          fail(status, request);
        } else {
          again('The box cannot be reached, or is busy');
        }
      });
    }

    function resume(url) {
      ask('HEAD', url, {}, null, null, function (status, request) {
        if (status === 200) {
          patch(url, parseInt(request.getResponseHeader('Upload-Offset'), 10));
        } else if (status === 404 || status === 410) {
          remember(file, null);
          create();
        } else if (isFinal(status)) {
          fail(status, request);
        } else {
          again('The box cannot be reached');
        }
      });
    }

    function patch(url, from) {
      var since = new Date().getTime();
      var headers = { 'Upload-Offset': String(from), 'Content-Type': 'application/offset+octet-stream' };
      function progress(event) {
        tries = 0;
        line.move(Math.min(from + event.loaded, file.size), file.size, since, from);
      }
      ask('PATCH', url, headers, file.slice(from), progress, function (status, request) {
        if (status === 204) {
          finish(url);
        } else if (isFinal(status) || status === 507 || code(request) === 'ffmpeg_not_available') {
          fail(status, request);
        } else {
          again('The connection broke');
        }
      });
    }

    function finish(url) {
      ask('GET', url, {}, null, null, function (status, request) {
        if (status === 200 && JSON.parse(request.responseText).file) {
          remember(file, null);
          line.end(JSON.parse(request.responseText).file);
          next();
        } else if (isFinal(status)) {
          fail(status, request);
        } else {
          again('The box does not answer');
        }
      });
    }

    line.say('Begins');
    if (remembered(file)) { resume(remembered(file)); } else { create(); }
  }

  function turn() {
    var file = waiting.shift();
    sending = !!file;
    if (file) { send(file, turn); }
  }

  function add(files) {
    var at;
    for (at = 0; at < files.length; at = at + 1) {
      files[at].line = new Line(files[at]);
      waiting.push(files[at]);
    }
    if (!sending) { turn(); }
  }

  form.addEventListener('submit', function (event) {
    if (!input.files || !input.files.length) { return; }
    event.preventDefault();
    add(input.files);
    input.value = '';
  });

  document.addEventListener('dragover', function (event) { event.preventDefault(); });
  document.addEventListener('drop', function (event) {
    event.preventDefault();
    if (event.dataTransfer && event.dataTransfer.files) { add(event.dataTransfer.files); }
  });

  window.addEventListener('beforeunload', function (event) {
    if (sending) {
      event.preventDefault();
      event.returnValue = 'Files are still being sent.';
    }
  });
}());
