// Search without a server: a page that was opened from a disk may not start a Worker, so a hidden frame plays one.
// The name is what the theme looks for; on pages from a server nothing is changed.
(() => {
  if (location.protocol !== "file:") return;

  class FrameWorker extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...addresses) =>
        addresses.reduce((before, one) => before.then(() => added(inside.document, one)), Promise.resolve());
      this.inside = inside;
      this.ready = added(inside.document, address);
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  }

  function added(page, address) {
    return new Promise((loaded, failed) => {
      const script = page.createElement("script");
      script.src = new URL(address, location.href).href;
      script.onload = loaded;
      script.onerror = failed;
      page.body.append(script);
    });
  }

  window.IFrameWorker = FrameWorker;
  window.Worker = FrameWorker;
})();
