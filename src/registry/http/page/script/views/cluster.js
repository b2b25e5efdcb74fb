// The nodes and shards of a cluster. A registry that is alone has no such path, and the page no such view.

const node_state = (node) => [node.leaving ? "leaving" : "serving", node.is_own && "answers this page"].filter(Boolean).join(", ");

const cluster = {
  title: "Cluster",
  nodes: [],
  shards: [],
  rows: new Rows({
    id: "node-rows",
    label: "Nodes",
    key: (node) => node.id,
    open: (id, by_key) => go_to("cluster", id, by_key),
    empty: () => "No node is known.",
    columns: [
      { name: "id", title: "Node", width: "minmax(140px, 180px)", look: "mono", draw: (cell, node) => say(cell, node.id) },
      { name: "url", title: "Address", width: "minmax(140px, 1fr)", look: "second", draw: (cell, node) => say(cell, node.url ?? "") },
      { name: "state", title: "State", width: "210px", look: "off", draw: (cell, node) => say(cell, node_state(node)) },
      { name: "version", title: "Version", width: "80px", look: "off", draw: (cell, node) => say(cell, node.version ?? "") },
      { name: "started", title: "Up for", width: "80px", look: "number off", draw: (cell, node) => say(cell, node.started ? since(node.started) : "") },
      { name: "shards", title: "Shards", width: "64px", look: "number shards", draw: (cell, node) => say(cell, String(node.owned.length)) },
    ],
  }),
  items: (query) => search(cluster.nodes, query),
  found: (number) => {
    const lost = cluster.shards.filter(({ node }) => node === null).length;
    return [count(number, "node"), count(cluster.shards.length, "shard"), lost > 0 && `${lost} without a node`].filter(Boolean).join(", ");
  },
};

/** Reads the view of the cluster now and then, if there is one. */
async function follow_cluster(signal) {
  while (!signal.aborted) {
    try {
      const { node, nodes, shards } = await ask("/views/cluster", { signal });
      const owned = (id) => shards.filter((shard) => shard.node === id).map(({ shard }) => shard);
      cluster.shards = shards;
      cluster.nodes = nodes.map((one) => ({ ...one, is_own: one.id === node, owned: owned(one.id), text: `${one.id}\n${one.url}`.toLowerCase() }));
      $("to-cluster").hidden = false;
      say($("count-nodes"), String(nodes.length));
      touch("cluster");
    } catch (error) {
      if (error.status === 404) return;
    }
    await pause(10_000);
    await until_in_sight(signal);
  }
}
