/** What the stand-in's model says: every kind of Markdown, and what a hostile model would try. */

export const ANSWER = `## How a river finds the sea

A river begins where water has *nowhere else to go*. Rain sinks in, meets clay or rock, and comes out again lower down: a **spring**, the headwater. From there it follows one rule, the steepest way that is open, and keeps following it through everything that happens to the land.

1. **Upper course.** Steep and narrow. The stream cuts down, and carries stones.
2. **Middle course.** Less slope, more water. It swings from side to side, and the bends grow.
3. **Lower course.** Hardly any slope. What it carried, it lays down.

| Course | Slope | What it carries |
| --- | --- | --- |
| Upper | over 10 m/km | boulders, gravel |
| Middle | 1–10 m/km | sand |
| Lower | below 1 m/km | silt, clay |

> A meander moves downstream by itself: the outer bank is worn, the inner bank grows.

Its speed can be estimated with Manning's formula:

\`\`\`python
def velocity(radius: float, slope: float, roughness: float = 0.035) -> float:
    """Mean velocity in m/s of water in an open channel."""
    return radius ** (2 / 3) * slope ** 0.5 / roughness
\`\`\`

So a channel of 2 m hydraulic radius falling 1 m per km runs at about **1.4 m/s**, a brisk walk. See [the hydrologic cycle](https://example.org/cycle) for where it goes next. 水は低きに流れる 🏞️

At last the slope is gone, the water slows and spreads, and the land it brought builds a delta into the sea.
`;

export const HOSTILE = `An image ![of a lake](https://example.org/pixel.png?secret) is a link.

<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2">

<style>body { display: none }</style><form action="https://example.org"><button>Go</button></form>

[A script](javascript:window.hacked=3), [data](data:text/html,<script>window.hacked=4</script>),
[quoted](https://example.org/"onmouseover="window.hacked=5), <a href="https://example.org" onclick="window.hacked=6">raw</a>

- [x] done
- [ ] open
`;
