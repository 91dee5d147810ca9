// The picture that the example filters, made for this project: render with ./render.
#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 8 }
#include "colors.inc"
#include "textures.inc"
#include "stones.inc"
#include "woods.inc"

camera { location <0, 3.0, -12> look_at <0, 2.05, 0> angle 48 right x*image_width/image_height }
light_source { <-9, 13, -9> color rgb 1.15 area_light <1.5, 0, 0>, <0, 0, 1.5>, 5, 5 adaptive 1 }
light_source { <8, 5, -10> color rgb 0.25 shadowless }
sky_sphere { pigment { gradient y color_map { [0 rgb <0.86, 0.90, 0.95>] [1 rgb <0.28, 0.47, 0.78>] } } }

plane { y, 0 pigment { checker color rgb <0.78, 0.76, 0.72> color rgb <0.30, 0.33, 0.38> scale 1.4 } finish { diffuse 0.8 reflection 0.08 } }

// A row of columns: the porch that the project is named for.
#declare Column = union {
  cylinder { <0, 0.25, 0>, <0, 3.2, 0>, 0.28 }
  box { <-0.42, 0, -0.42>, <0.42, 0.25, 0.42> }
  box { <-0.42, 3.2, -0.42>, <0.42, 3.4, 0.42> }
  #local Flute = 0;
  #while (Flute < 12)
    cylinder { <0.27, 0.25, 0>, <0.27, 3.2, 0>, 0.05 rotate y*30*Flute }
    #local Flute = Flute + 1;
  #end
  pigment { color rgb <0.92, 0.88, 0.80> } normal { granite 0.12 scale 0.6 } finish { diffuse 0.85 specular 0.1 }
}
#declare Place = -3;
#while (Place <= 3)
  object { Column translate <Place * 1.7, 0, 3> }
  #declare Place = Place + 1;
#end
box { <-5.8, 3.4, 2.4>, <5.8, 3.9, 3.6> pigment { color rgb <0.92, 0.88, 0.80> } normal { granite 0.1 } }
prism { linear_sweep linear_spline 2.4, 3.6, 4, <-6, 3.9>, <6, 3.9>, <0, 5.3>, <-6, 3.9> rotate -90*x scale <1, 1, -1> pigment { color rgb <0.88, 0.82, 0.73> } }

sphere { <-2.1, 0.9, -0.9>, 0.9 texture { T_Stone24 scale 0.7 } finish { specular 0.6 roughness 0.01 reflection 0.06 } }
sphere { <2.2, 0.8, -0.6>, 0.8 pigment { color rgb <0.9, 0.9, 0.95> } finish { diffuse 0.2 reflection 0.7 specular 0.9 roughness 0.002 } }
torus { 0.7, 0.22 rotate <75, 25, 0> translate <0.1, 0.9, -1.6> texture { T_Wood7 scale 0.5 } finish { specular 0.3 } }
box { <-0.5, 0, -0.5>, <0.5, 1, 0.5> rotate y*35 translate <0.2, 0, 0.9> pigment { color rgb <0.72, 0.24, 0.17> } finish { diffuse 0.8 specular 0.2 } }
