// The stage of the report: one face as a mesh in WebGL2, turned by dragging and relit. Frames and signs are those of CONVENTIONS.md.
"use strict";

const RIM = 2; // columns at the left and at the right that are no surface
const TURN_LIMIT = [45, 60]; // degrees of pitch and yaw; behind the relief there is nothing
const DEGREE = Math.PI / 180;
const MARGIN = 1.12; // the canvas shows this much more than the picture, so that a turned face stays in it
const MODES = ["lit", "albedo", "shading", "normals"];

const VERTEX = `#version 300 es
uniform mat3 rotation;
uniform vec3 translation;
uniform float tangent; // of half the field of view, with the margin
in vec3 position;
in vec3 normal;
in vec2 place; // in the albedo, from its upper left corner, 0 to 1
out vec3 shownNormal;
out vec2 shownPlace;
void main() {
  vec3 pivot = vec3(0, 0, 1);
  vec3 seen = rotation * (position - pivot) + pivot + translation;
  shownNormal = normal; // light lives in the canonical frame, so normals are not turned
  shownPlace = place;
  gl_Position = vec4(seen.x / tangent, -seen.y / tangent, (seen.z - 1.0) * 2.0 * seen.z, seen.z);
}`;

// irradiance holds A_l L_lm / pi for each of the nine harmonics, so that shading is max(sum, 0).
const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 irradiance[9];
uniform int mode;
uniform sampler2D albedo; // reflectance, 0 to 1
in vec3 shownNormal;
in vec2 shownPlace;
out vec4 colour;
void main() {
  vec3 n = normalize(shownNormal), reflectance = texture(albedo, shownPlace).rgb;
  float basis[9] = float[9](0.28209479, 0.48860251 * n.y, 0.48860251 * n.z, 0.48860251 * n.x, 1.09254843 * n.x * n.y,
      1.09254843 * n.y * n.z, 0.31539157 * (3.0 * n.z * n.z - 1.0), 1.09254843 * n.x * n.z, 0.54627422 * (n.x * n.x - n.y * n.y));
  vec3 sum = vec3(0);
  for (int k = 0; k < 9; k++) sum += irradiance[k] * basis[k];
  vec3 shading = max(sum, vec3(0));
  colour = vec4(mode == 0 ? reflectance * shading : mode == 1 ? reflectance : mode == 2 ? shading : n * 0.5 + 0.5, 1);
}`;

function unpack(face) {
  const bytes = Uint8Array.from(atob(face.data), (character) => character.charCodeAt(0));
  const pixels = face.side * face.side, view = new DataView(bytes.buffer);
  const focal = (face.side - 1) / 2 / Math.tan(face.fov / 2 * DEGREE), centre = (face.side - 1) / 2;
  const position = new Float32Array(3 * pixels), normal = new Float32Array(3 * pixels), place = new Float32Array(2 * pixels);
  for (let i = 0; i < pixels; i++) {
    const z = face.near + (face.far - face.near) * view.getUint16(2 * i, true) / 65535;
    const column = i % face.side, row = Math.floor(i / face.side);
    position.set([(column - centre) / focal * z, (row - centre) / focal * z, z], 3 * i);
    place.set([(column + 0.5) / face.side, (row + 0.5) / face.side], 2 * i); // both cover the pixels' outer edges
  }
  for (let i = 0; i < 3 * pixels; i++) normal[i] = view.getInt16(2 * pixels + 2 * i, true) / 32767;
  const indices = [];
  for (let row = 0; row + 1 < face.side; row++) {
    for (let column = RIM; column + 1 < face.side - RIM; column++) {
      const i = row * face.side + column;
      indices.push(i, i + 1, i + face.side, i + face.side, i + 1, i + face.side + 1);
    }
  }
  const light = face.light.map((value) => Array.isArray(value) ? value : [value, value, value]);
  return { ...face, position, normal, place, light, indices: new Uint32Array(indices) };
}

// Rz Ry Rx, rows.
function rotationOf([rx, ry, rz]) {
  const [sx, cx, sy, cy, sz, cz] = [Math.sin(rx), Math.cos(rx), Math.sin(ry), Math.cos(ry), Math.sin(rz), Math.cos(rz)];
  return [[cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
    [-sy, cy * sx, cy * cx]];
}

// The rotation that takes the unit vector a to b the short way; a and b are never opposite here (both have z > 0).
function rotationBetween(a, b) {
  const v = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const c = a[0] * b[0] + a[1] * b[1] + a[2] * b[2], k = 1 / (1 + c);
  return [[c + k * v[0] * v[0], k * v[0] * v[1] - v[2], k * v[0] * v[2] + v[1]],
    [k * v[0] * v[1] + v[2], c + k * v[1] * v[1], k * v[1] * v[2] - v[0]],
    [k * v[0] * v[2] - v[1], k * v[1] * v[2] + v[0], c + k * v[2] * v[2]]];
}

const product = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const transpose = (a) => a[0].map((_, j) => a.map((row) => row[j]));
const normalized = (a) => { const length = Math.hypot(...a); return length > 1e-6 ? a.map((x) => x / length) : [0, 0, 1]; };

// Nine coefficients of one colour, turned as render.lighting.rotate_sh does: band 1 is a vector, band 2 a symmetric matrix.
function rotateLight(c, r) {
  const y20 = 0.31539157, y22 = 0.54627422;
  const band1 = product(r, [[c[3]], [c[1]], [c[2]]]);
  const m = product(product(r, [[y22 * c[8] - y20 * c[6], y22 * c[4], y22 * c[7]], [y22 * c[4], -y22 * c[8] - y20 * c[6], y22 * c[5]],
    [y22 * c[7], y22 * c[5], 2 * y20 * c[6]]]), transpose(r));
  return [c[0], band1[1][0], band1[2][0], band1[0][0], m[0][1] / y22, m[1][2] / y22, m[2][2] / (2 * y20), m[0][2] / y22,
    (m[0][0] - m[1][1]) / (2 * y22)];
}

// Where light travels on the whole: band 1 of all colours, never from behind the picture.
function directionOf(light) {
  const sum = (k) => light[k].reduce((a, b) => a + b, 0);
  const [x, y, z] = normalized([sum(3), sum(1), Math.max(sum(2), 0)]);
  return normalized([x, y, Math.max(z, 0.05)]);
}

class Stage {
  constructor(root, faces) {
    this.find = (name) => root.querySelector(`[data-stage="${name}"]`);
    this.canvas = this.find("canvas");
    this.gl = this.canvas.getContext("webgl2", { antialias: true });
    if (!this.gl) {
      this.find("status").textContent = "This browser has no WebGL2, which the stage needs.";
      return;
    }
    this.faces = faces;
    this.mode = 0;
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => { this.build(); this.choose(this.chosen); });
    this.build();
    this.listen();
    this.choose(0);
  }

  build() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.place = (name) => gl.getUniformLocation(program, name);
    this.buffers = Object.fromEntries(Object.entries({ position: 3, normal: 3, place: 2 }).map(([name, numbers]) => {
      const buffer = gl.createBuffer(), location = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, numbers, gl.FLOAT, false, 0, 0);
      return [name, buffer];
    }));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  choose(number) {
    const gl = this.gl;
    this.chosen = number;
    this.face = unpack(this.faces[number]);
    for (const [name, buffer] of Object.entries(this.buffers)) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, this.face[name], gl.STATIC_DRAW);
    }
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.face.indices, gl.STATIC_DRAW);
    this.find("faces").querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", i === number));
    const albedo = new Image();
    albedo.onload = () => {
      if (this.chosen !== number) return; // another face has been chosen since
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, albedo);
      gl.generateMipmap(gl.TEXTURE_2D);
      this.reset(this.face.view);
    };
    albedo.src = this.face.albedo;
  }

  reset(view) {
    this.view = [...view];
    this.direction = directionOf(this.face.light);
    for (const band of [0, 1, 2]) this.find(`band${band}`).value = 1;
    this.draw();
  }

  turn(pitch, yaw) { // degrees
    [pitch, yaw].forEach((angle, axis) => {
      const limit = TURN_LIMIT[axis] * DEGREE;
      this.view[axis] = Math.min(limit, Math.max(-limit, this.view[axis] + angle * DEGREE));
    });
    this.draw();
  }

  // (right, down) in the unit disc: where the light comes from; it travels the other way.
  lightFrom(right, down) {
    const scale = Math.min(1, 0.98 / Math.max(Math.hypot(right, down), 1e-6));
    const [x, y] = [-right * scale, -down * scale];
    this.direction = [x, y, Math.sqrt(1 - x * x - y * y)];
    this.draw();
  }

  // A_l L_lm / pi of the face's own light, its bands scaled by the sliders and turned to the direction.
  irradiance() {
    const turn = rotationBetween(directionOf(this.face.light), this.direction);
    const gain = [0, 1, 1, 1, 2, 2, 2, 2, 2].map((band) => [1, 2 / 3, 1 / 4][band] * this.find(`band${band}`).value);
    const colours = [0, 1, 2].map((colour) => rotateLight(this.face.light.map((c) => c[colour]), turn));
    return gain.flatMap((factor, k) => colours.map((c) => factor * c[k]));
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const gl = this.gl, side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    gl.viewport(0, 0, side, side);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix3fv(this.place("rotation"), false, transpose(rotationOf(this.view)).flat());
    gl.uniform3fv(this.place("translation"), this.view.slice(3));
    gl.uniform1f(this.place("tangent"), MARGIN * Math.tan(this.face.fov / 2 * DEGREE));
    gl.uniform3fv(this.place("irradiance"), this.irradiance());
    gl.uniform1i(this.place("mode"), this.mode);
    gl.drawElements(gl.TRIANGLES, this.face.indices.length, gl.UNSIGNED_INT, 0);
    const [x, y] = this.direction, handle = this.find("handle");
    handle.setAttribute("cx", -x);
    handle.setAttribute("cy", -y);
    const shown = (value) => Math.round(value / DEGREE);
    this.find("status").textContent = `${this.face.label}: pitch ${shown(this.view[0])}°, yaw ${shown(this.view[1])}°; light from ` +
      `${-x < 0 ? "the left" : "the right"} ${Math.abs(shown(Math.asin(x)))}°, from ${-y < 0 ? "above" : "below"} ${Math.abs(shown(Math.asin(y)))}°`;
  }

  listen() {
    const drag = (element, move) => {
      let last = null; // one finger or button at a time
      element.addEventListener("pointerdown", (event) => {
        last = [event.clientX, event.clientY];
        element.setPointerCapture(event.pointerId);
        move(event, 0, 0);
      });
      element.addEventListener("pointermove", (event) => {
        if (!last) return;
        move(event, event.clientX - last[0], event.clientY - last[1]);
        last = [event.clientX, event.clientY];
      });
      for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { last = null; });
    };
    const keys = (element, step) => element.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (way) { event.preventDefault(); step(...way); }
    });
    // What is near follows the pointer: to the right is a negative yaw, downwards a positive pitch.
    drag(this.canvas, (_, right, down) => this.turn(down * 0.4, -right * 0.4));
    keys(this.canvas, (right, down) => this.turn(down * 4, -right * 4));
    const pad = this.find("light");
    drag(pad, (event) => {
      const box = pad.getBoundingClientRect();
      this.lightFrom(2.2 * ((event.clientX - box.left) / box.width - 0.5), 2.2 * ((event.clientY - box.top) / box.height - 0.5));
    });
    keys(pad, (right, down) => this.lightFrom(-this.direction[0] + 0.08 * right, -this.direction[1] + 0.08 * down));
    for (const band of [0, 1, 2]) this.find(`band${band}`).addEventListener("input", () => this.draw());
    MODES.forEach((name, mode) => this.find(name).addEventListener("change", () => { this.mode = mode; this.draw(); }));
    this.find("faces").querySelectorAll("button").forEach((button, i) => button.addEventListener("click", () => this.choose(i)));
    this.find("fitted").addEventListener("click", () => this.reset(this.face.view));
    this.find("front").addEventListener("click", () => this.reset([0, 0, 0, 0, 0, 0]));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }
}

const root = document.getElementById("stage");
if (root) new Stage(root, JSON.parse(document.getElementById("faces").textContent));
