/* Remembers how far a lecture was played. Read by engines back to 2014: ES5, XMLHttpRequest, addEventListener. */
(function () {
  'use strict';

  /* Milliseconds between two positions that are told; a power cut takes no more than this of them. */
  var EVERY = 10000;
  /* A lecture counts as watched from here on: what follows is credits. */
  var WATCHED = 0.95;

  var media = document.getElementById('player');
  if (!media) { return; }
  var key = media.getAttribute('data-key');
  var url = media.getAttribute('data-progress');
  var start = parseFloat(media.getAttribute('data-start')) || 0;
  var complete = media.getAttribute('data-complete') === 'true';
  /* The clock of a television may be years off; the box's was right enough when the page was made. */
  var boxNow = parseFloat(media.getAttribute('data-now')) || 0;
  var skew = boxNow > 0 ? boxNow - new Date().getTime() : 0;
  var played = false;
  var restored = start < 5;
  var told = -1;
  var toldAt = 0;

  /* The version that is made while it plays cannot be sought in: it began at the second that its address says, and is as
     long as what came of it so far. */
  function made() {
    return /\/api\/video-compatible\/[^?]*(?:\?t=(\d+))?/.exec(media.currentSrc || '');
  }

  function position() {
    var from = made();
    return media.currentTime + (from && from[1] ? parseInt(from[1], 10) : 0);
  }

  function restore() {
    if (restored || !(media.duration > 0)) { return; }
    if (made()) { restored = true; return; }
    restored = true;
    if (start < media.duration - 5) {
      try { media.currentTime = start; } catch (e) { restored = false; }
    }
  }

  function entry() {
    var duration = isFinite(media.duration) && !made() ? media.duration : 0;
    var now = new Date(new Date().getTime() + skew).toISOString();
    var reached = media.ended || (duration > 0 && position() >= duration * WATCHED);
    var value = { status: 'in_progress', watchTime: Math.floor(position()), lastWatched: now };
    if (duration > 0) { value.duration = Math.floor(duration); }
    if (reached || complete) {
      if (reached && !complete) { value.completedAt = now; }
      value.status = 'complete';
      complete = true;
    }
    var body = {};
    body[key] = value;
    return JSON.stringify(body);
  }

  /* Whether there is anything to tell that was not told. */
  function news() {
    var second = Math.floor(position());
    if (!played || !restored || second === told) { return false; }
    told = second;
    toldAt = new Date().getTime();
    return true;
  }

  function send(method, target, wait) {
    var request = new XMLHttpRequest();
    request.open(method, target, !wait);
    request.setRequestHeader('Content-Type', 'application/json');
    request.onerror = function () { told = -1; };
    request.send(entry());
  }

  function tell() {
    if (news()) { send('PATCH', url, false); }
  }

  /* The page goes: only what needs no answer arrives. */
  function leave() {
    if (!news()) { return; }
    var target = url + (url.indexOf('?') < 0 ? '?' : '&') + 'merge=1';
    if (navigator.sendBeacon && navigator.sendBeacon(target, entry())) { return; }
    try { send('POST', target, true); } catch (e) { /* Too late for more. */ }
  }

  media.addEventListener('loadedmetadata', restore, false);
  media.addEventListener('canplay', restore, false);
  media.addEventListener('playing', function () { played = true; }, false);
  media.addEventListener('timeupdate', function () {
    if (!media.paused && new Date().getTime() - toldAt >= EVERY) { tell(); }
  }, false);
  media.addEventListener('pause', tell, false);
  media.addEventListener('ended', function () {
    told = -1;
    tell();
    /* One press goes on. */
    var next = document.getElementById('next');
    if (next) { next.focus(); }
  }, false);
  window.addEventListener('pagehide', leave, false);
  document.addEventListener('visibilitychange', function () {
    if (document.visibilityState === 'hidden') { leave(); }
  }, false);
  if (media.readyState >= 1) { restore(); }
}());
